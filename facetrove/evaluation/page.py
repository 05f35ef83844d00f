"""A self-contained HTML report page about an evaluation.

The page loads nothing and runs no script: plots (SVG) and faces (JPEG) are in the page itself.
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
from faces.core.named import require_no_address
from faces.core.storage import put_file

if TYPE_CHECKING:
    from facetrove.evaluation.tables import Table

REPORT_MARK = '<meta name="generator" content="facetrove evaluation">'
"""Tag near the beginning of every report, by which a file is recognised as one before it is
replaced."""

DEFINITIONS = {
    "Similarity": "Inner product of two embeddings of unit length, from -1 to 1; higher is more "
    "similar. A comparison or candidate at or above a threshold is positive.",
    "Mated, non-mated": "A pair is mated if it shows one person, and non-mated if it shows two. A "
    "search is mated if the person in the probe photo is enrolled in the gallery, and non-mated if "
    "not (ISO/IEC 19795-1:2021).",
    "FAR, FRR": "False accept rate: share of non-mated pairs with a similarity at or above the "
    "threshold. False reject rate: share of mated pairs below the threshold. Pairs with a photo in "
    "which no face is found are rejected, so failures to acquire are included (ISO/IEC "
    "19795-1:2021). The true accept rate TAR is 1 - FRR.",
    "Equal error rate": "The rate at the threshold where FAR and FRR are equal.",
    "Accuracy in ten folds": "Share of pairs classified correctly, where each fold is classified "
    "at the threshold that is best on the other nine: the mean over the ten folds, with its "
    "standard error (Huang, Ramesh, Berg, Learned-Miller: Labeled Faces in the Wild, Technical "
    "Report 07-49, University of Massachusetts, 2007).",
    "Rank-1, CMC": "In the closed set, everybody searched for is enrolled. Rank-1 is the share of "
    "searches in which the person in the probe photo is the first candidate. The cumulative match "
    "characteristic (CMC) is the share in which that person is among the first 1, 2, ... "
    "candidates.",
    "FPIR, FNIR": "In the open set, some of the people searched for are not enrolled. "
    "False-positive identification rate: share of non-mated searches that return any candidate at "
    "or above the threshold. False-negative identification rate: share of mated searches in which "
    "the person is not among the candidates at or above the threshold. Candidate lists hold at "
    "most 20 people (Grother, Ngan, Hanaoka: FRVT Part 2: Identification, NISTIR 8271, 2019; now "
    "FRTE 1:N).",
    "DET": "Detection error tradeoff curve: FNIR against FPIR, both logarithmic.",
    "Error versus reject": "FRR or FNIR of the faces that remain when the faces of lowest quality "
    "by a measure are left out, at a fixed threshold (Grother, Tabassi: Performance of Biometric "
    "Quality Measures, IEEE PAMI 29(4), 2007). Where the curve falls, rejecting faces by that "
    "measure reduces errors.",
    "Intervals": "95% confidence intervals from a bootstrap over people: all photos of a person "
    "are drawn together (vertex bootstrap; Fogliato, Patil, Perona: Confidence Intervals for Error "
    "Rates in 1:1 Matching Tasks, IJCV 2024). For a rate of 0 or 1 the interval reaches 3 / people "
    "beyond it (rule of three; Hanley, Lippman-Hand, JAMA 1983).",
}
"""Definitions of terms, printed on the pages that use them."""


@dataclass
class Page:
    """The content of a report page, from top to bottom.

    Attributes:
        title: the page's title.
        lead: the result in a sentence or two.
        facts: the main figures as text, by their names.
        body: the HTML of the sections.
        terms: the keys of `DEFINITIONS` whose definitions end the page.
    """

    title: str
    lead: str
    facts: Mapping[str, str]
    body: list[str] = field(default_factory=list)
    terms: Sequence[str] = ()

    def add(self, heading: str, *parts: str) -> None:
        """Add a section.

        Args:
            heading: the heading as plain text.
            parts: the section's content as HTML.
        """
        self.body.append(f"<section><h2>{escape(heading)}</h2>{''.join(parts)}</section>")


def require_report_name(path: Path) -> None:
    """Raise WrongUsageError unless a report can be written to a path.

    An existing file is replaced only if it is a report.
    """
    require_no_address(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise WrongUsageError(
            f"report {path} does not end in .html; a report is a web page: end its name in .html"
        )
    if not path.parent.is_dir():
        raise WrongUsageError(f"folder {path.parent} does not exist; make it first")
    if path.is_dir():
        raise WrongUsageError(f"{path} is a folder; name a file")
    if path.exists() and not (path.is_file() and REPORT_MARK in _beginning(path)):
        raise WrongUsageError(f"{path} exists and is not a report of facetrove; name another file")


def _beginning(path: Path) -> str:
    """Read the first 1,000 characters of a file."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(1000)


def write_page(
    path: Path, page: Page, *, source: str, contract: ModelContract, options: Mapping[str, str]
) -> None:
    """Write a report page.

    Args:
        path: the file to write; see `require_report_name`.
        page: the content of the page.
        source: the name of the index or dataset that was evaluated.
        contract: the model contract of its embeddings.
        options: the options of the evaluation, by name.

    Raises:
        WrongUsageError: the report cannot be written to that path.
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
        f"Detector {contract.detector}; embedder {contract.embedder} "
        f"({contract.dimension} dimensions, alignment {contract.alignment}, weights "
        f"{contract.embedder_digest[:12]}, preprocessing version {contract.preprocessing_version})"
    )
    asked = "Options: " + ", ".join(f"{name} {value}" for name, value in options.items())
    created = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    with put_file(path) as file:
        text = (
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
            f"{package_version('facetrove')}, {created}.</footer></main></body></html>\n"
        )
        file.write(text.encode())


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
    """Mark up a figure so that its interval, in brackets behind it, is shown in small letters."""
    number, _, interval = escape(value).partition(" (")
    return f"{number}<small>{interval.removesuffix(')')}</small>" if interval else number


def table(shown: Table) -> str:
    """Return a table as HTML."""
    head = "".join(f"<th>{escape(title)}</th>" for title in shown.titles)
    cells = (
        f"<tr>{''.join(f'<td>{escape(value)}</td>' for value in row)}</tr>" for row in shown.rows
    )
    return (
        f"<div class=scroll><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(cells)}</tbody></table></div>"
    )


def paragraph(text: str) -> str:
    """Return plain text as an HTML paragraph."""
    return f"<p>{escape(text)}</p>"


def figure(svg: str, caption: str) -> str:
    """Return an SVG document as an HTML figure with a caption."""
    content = base64.b64encode(svg.encode()).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/svg+xml;base64,{content}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def plots(*figures: str) -> str:
    """Return figures beside each other, as HTML."""
    return f"<div class=plots>{''.join(figures)}</div>"
