"""One self-contained HTML page about an evaluation: for people to read, and to cite.

It loads nothing and runs nothing: plots are SVG and faces JPEG in the page itself.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING

from faces.core.contract import ModelContract
from faces.core.errors import WrongUsageError
from faces.core.files import atomic_write

if TYPE_CHECKING:
    from facetrove.evaluation.tables import Table

REPORT_MARK = '<meta name="generator" content="facetrove evaluation">'

DEFINITIONS = {
    "Similarity": "Inner product of two embeddings of length 1, from -1 to 1; higher is nearer.",
    "Mated, non-mated": "A comparison or search is mated where the person is the same, or is "
    "enrolled; else non-mated (ISO/IEC 19795-1:2021).",
    "FAR, FRR": "False accept rate: share of non-mated pairs at or above a threshold. False reject "
    "rate: share of mated pairs below it. A photo in which no face is found is rejected (failure "
    "to acquire counts; ISO/IEC 19795-1:2021). TAR is 1 - FRR.",
    "Equal error rate": "Where FAR and FRR are the same.",
    "Accuracy in ten folds": "Each fold is answered at the threshold that is best on the other "
    "nine; the mean of the ten, with its standard error (Huang, Ramesh, Berg, Learned-Miller: "
    "Labeled Faces in the Wild, Technical Report 07-49, University of Massachusetts, 2007).",
    "Rank-1, CMC": "Share of closed-set searches whose person comes first; the cumulative match "
    "characteristic is the same for the first 1, 2, ... people.",
    "FPIR, FNIR": "In the open set, false-positive identification rate: share of non-mated "
    "searches with any candidate at or above a threshold. False-negative identification rate: "
    "share of mated searches whose person is not among the candidates at or above it. Candidate "
    "lists hold 20 people (Grother, Ngan, Hanaoka: FRVT Part 2: Identification, NISTIR 8271, "
    "2019; now FRTE 1:N).",
    "DET": "Detection error tradeoff: FNIR against FPIR, both logarithmic.",
    "Error versus reject": "FNIR or FRR of what is left when the worst faces by a measure are left "
    "out, at a fixed threshold (Grother, Tabassi: Performance of Biometric Quality Measures, IEEE "
    "PAMI 29(4), 2007). A measure is worth rejecting by where the curve falls.",
    "Intervals": "95%, by a bootstrap over people: all photos of a person are drawn together "
    "(vertex bootstrap; Fogliato, Patil, Perona: Confidence Intervals for Error Rates in 1:1 "
    "Matching Tasks, IJCV 2024). Where all or none failed it reaches 3 / people further (rule of "
    "three).",
}


@dataclass
class Page:
    """What a page says, top down.

    Attributes:
        title: of the page.
        lead: what it comes to, in a sentence or two.
        facts: figures to see first, with what they are.
        body: HTML of the sections.
        terms: names of `DEFINITIONS` that it uses.
    """

    title: str
    lead: str
    facts: Mapping[str, str]
    body: list[str] = field(default_factory=list)
    terms: Sequence[str] = ()

    def add(self, heading: str, *parts: str) -> None:
        """Add a section."""
        self.body.append(f"<section><h2>{escape(heading)}</h2>{''.join(parts)}</section>")


def require_report_name(path: Path) -> None:
    """Raise WrongUsageError unless a report can be written there.

    Only an earlier report is ever replaced.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise WrongUsageError(f"{path} is to be a web page; end its name in .html")
    if not path.parent.is_dir():
        raise WrongUsageError(f"folder {path.parent} does not exist; make it first")
    if path.is_dir():
        raise WrongUsageError(f"{path} is a folder; name a file")
    if path.exists() and REPORT_MARK not in _beginning(path):
        raise WrongUsageError(f"{path} exists and is no report of facetrove; name another file")


def _beginning(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(1000)


def write_page(
    path: Path, page: Page, *, source: str, contract: ModelContract, options: Mapping[str, str]
) -> None:
    """Write a page.

    Args:
        path: as of `require_report_name`.
        page: what it says.
        source: what was evaluated: a folder's name.
        contract: of its embeddings.
        options: what was asked, by name.
    """
    require_report_name(path)
    facts = "".join(
        f"<div><strong>{_with_small_interval(value)}</strong><span>{escape(name)}</span></div>"
        for name, value in page.facts.items()
    )
    terms = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(DEFINITIONS[name])}</dd>" for name in page.terms
    )
    models = (
        f"{contract.detector} finds faces, {contract.embedder} embeds them "
        f"({contract.dimension} numbers, {contract.alignment} crops, weights "
        f"{contract.embedder_digest[:12]}, preprocessing {contract.preprocessing_version})"
    )
    asked = "Asked: " + ", ".join(f"{name} {value}" for name, value in options.items())
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    with atomic_write(path) as temporary:
        temporary.write_text(
            "<!doctype html>\n"
            f'<html lang="en"><head><meta charset="utf-8">{REPORT_MARK}'
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
            "img-src data:; style-src 'unsafe-inline'\">"
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(page.title)}</title><style>{_CSS}</style></head><body><main>"
            f"<header><h1>{escape(page.title)}</h1><p class=lead>{escape(page.lead)}</p>"
            f"<div class=facts>{facts}</div></header>{''.join(page.body)}"
            f"<section><h2>Definitions</h2><dl>{terms}</dl></section>"
            f"<footer>{escape(source)}. {escape(asked)}. {escape(models)}. facetrove "
            f"{package_version('facetrove')}, {made}.</footer></main></body></html>\n",
            encoding="utf-8",
        )


_CSS = """
body{margin:0;background:#fff;color:#1c1c1e;font:16px/1.5 system-ui,"Segoe UI",sans-serif}
main{max-width:960px;margin:0 auto;padding:32px 24px}
h1{font-size:28px;line-height:1.2;margin:0 0 8px}h2{font-size:20px;margin:40px 0 8px}
.lead{font-size:18px;margin:0 0 20px}p{max-width:70ch}
.facts{display:flex;flex-wrap:wrap;gap:12px}
.facts div{flex:1 1 160px;border:1px solid #d2d2d7;border-radius:8px;padding:12px 16px}
.facts strong{display:block;font-size:24px;line-height:1.2}.facts strong small{font-size:14px;
font-weight:400;display:block;margin-top:2px}.facts span{color:#56565b;font-size:14px}
table{border-collapse:collapse;font-size:14px;margin:12px 0;font-variant-numeric:tabular-nums}
th,td{padding:4px 14px 4px 0;text-align:right;border-bottom:1px solid #e8e8ed;white-space:nowrap}
th{font-weight:600}th:first-child,td:first-child{text-align:left}
.scroll{overflow-x:auto}
.plots{display:grid;grid-template-columns:repeat(2,1fr);gap:16px}
figure{margin:0}figure img{width:100%;height:auto}figcaption{font-size:14px;color:#56565b;
overflow-wrap:anywhere}
.faces{display:flex;flex-wrap:wrap;gap:16px}.faces figure{width:330px}
.faces img{width:160px;height:160px;margin-right:4px}
dt{font-weight:600;margin-top:10px}dd{margin:0;max-width:80ch}
footer{margin-top:40px;color:#56565b;font-size:13px;border-top:1px solid #d2d2d7;padding-top:12px}
@media(max-width:720px){.plots{grid-template-columns:1fr}}
"""


def _with_small_interval(value: str) -> str:
    """A rate in large letters, what stands in brackets behind it in small ones."""
    number, _, interval = escape(value).partition(" (")
    return f"{number}<small>{interval.removesuffix(')')}</small>" if interval else number


def table(shown: Table) -> str:
    """Give a table as HTML."""
    head = "".join(f"<th>{escape(title)}</th>" for title in shown.titles)
    cells = (
        f"<tr>{''.join(f'<td>{escape(value)}</td>' for value in row)}</tr>" for row in shown.rows
    )
    return (
        f"<div class=scroll><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(cells)}</tbody></table></div>"
    )


def paragraph(text: str) -> str:
    """Give a text as an HTML paragraph."""
    return f"<p>{escape(text)}</p>"


def figure(svg: str, caption: str) -> str:
    """Give a plot, an SVG document, as an HTML figure with its caption."""
    content = base64.b64encode(svg.encode()).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/svg+xml;base64,{content}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def plots(*figures: str) -> str:
    """Put figures beside each other."""
    return f"<div class=plots>{''.join(figures)}</div>"
