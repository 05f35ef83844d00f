"""One self-contained HTML page about an evaluation: for people to read, and to cite.

It loads nothing and runs nothing: plots are SVG and faces JPEG in the page itself.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version as package_version
from io import BytesIO
from pathlib import Path

import numpy as np

from faces.core.contract import ModelContract
from faces.core.errors import WrongUsageError
from faces.core.files import atomic_write
from facetrove.evaluation.breakdown import WrongAnswer
from facetrove.evaluation.identify import MOST_RANK, Identification
from facetrove.evaluation.metrics import ErrorCurve
from facetrove.evaluation.pair_faces import NO_FACE
from facetrove.evaluation.pairs import Verification
from facetrove.evaluation.plots import Axis, Line, histogram_plot, line_plot
from facetrove.evaluation.robustness import UNDAMAGED, Damaged, Robustness
from facetrove.evaluation.tables import (
    Table,
    accept_table,
    closed_set_table,
    damage_table,
    fold_table,
    group_table,
    open_set_table,
    reject_table,
    said,
    tenth_table,
    ways_of,
)
from search.contact_sheet import face_tile_of
from search.results import Box

FPIR = 1e-2
"""Of the figures to see first."""

REPORT_MARK = '<meta name="generator" content="facetrove evaluation">'
ALL_BUT_NOTHING = 1e-4

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


def verification_page(result: Verification, *, examples: bool) -> Page:
    """What `evaluate pairs` found.

    Args:
        result: of `facetrove.evaluation.pairs.evaluate_pairs`.
        examples: show the faces of the worst errors.
    """
    accuracy = f"{result.accuracy:.4f}"
    if result.accuracy_error is not None:
        accuracy += f" ± {result.accuracy_error:.4f}"
    page = Page(
        title="Is it the same person? Verification of pairs",
        lead=f"{result.num_mated:,} pairs of one person and {result.num_non_mated:,} of two were "
        f"compared; {result.accuracy:.1%} were answered rightly.",
        facts={
            "accuracy" + (" in ten folds" if len(result.fold_accuracies) == 10 else ""): accuracy,
            "equal error rate": said(result.equal_error_rate),
            "pairs without a face": f"{result.num_without_face:,}",
        },
        terms=(
            "Similarity",
            "Mated, non-mated",
            "FAR, FRR",
            "Equal error rate",
            "Accuracy in ten folds",
            "Error versus reject",
            "Intervals",
        ),
    )
    origin = {
        "list": "Folds are those of the list.",
        "drawn": f"The list has no folds: {len(result.fold_accuracies)} were drawn at random, each "
        "with its share of both kinds of pairs.",
        "other list": "The threshold was chosen on another list of pairs.",
    }[result.folds]
    page.add(
        "True accept rate by false accept rate",
        _table(accept_table(result)),
        _paragraph(f"A FAR can be told with 1 / FAR pairs of two people or more. {origin}"),
    )
    curve = result.curve.thinned()
    page.add(
        "Curves",
        _plots(
            _figure(
                line_plot(
                    [Line("", np.maximum(curve.false_positive, 0), 1 - curve.false_negative)],
                    Axis("false accept rate", log=True, ends=(1 / result.num_non_mated, 1)),
                    Axis("true accept rate", ends=(_floor(curve, 1 / result.num_non_mated), 1.002)),
                    steps=True,
                ),
                "ROC: the share of pairs of one person that are accepted, by the share of pairs of "
                f"two that are accepted by mistake. Area under it {result.area:.4f}.",
            ),
            _figure(
                histogram_plot(
                    result.mated[result.mated > NO_FACE],
                    result.non_mated[result.non_mated > NO_FACE],
                    names=("one person", "two people"),
                    threshold=float(np.median(result.fold_thresholds)),
                    threshold_name="threshold, median of the folds",
                ),
                "Similarities of pairs whose faces were found: the less the two hills overlap, the "
                "better.",
            ),
        ),
    )
    page.add("Folds", _table(fold_table(result)))
    _add_breakdown(page, result, miss="FRR", false_alarm="FAR")
    if examples:
        _add_examples(page, result.worst)
    return page


def identification_page(result: Identification, *, examples: bool) -> Page:
    """What `evaluate identify` found; as `verification_page`."""
    best = result.index or result.model
    ways = ways_of(result)
    fnir = best.false_negative.get(FPIR)
    page = Page(
        title="Who is it? Identification in a gallery",
        lead=f"In {result.num_closed:,} searches among {result.closed_gallery[0]:,.0f} people the "
        f"right person came first in {best.rank_one.value:.1%}."
        + (
            ""
            if fnir is None
            else f" Among {result.open_gallery[0]:,.0f} people, with a threshold that takes one "
            f"stranger in a hundred for somebody, {fnir.value:.1%} of the searches for people who "
            "are there miss them."
        ),
        facts={
            "rank-1, closed set": said(best.rank_one),
            "FNIR at an FPIR of 0.01": said(fnir),
            "people and photos with labels": f"{result.num_people:,} and {result.num_faces:,}",
        },
        terms=(
            "Similarity",
            "Mated, non-mated",
            "Rank-1, CMC",
            "FPIR, FNIR",
            "DET",
            "Error versus reject",
            "Intervals",
        ),
    )
    page.add(
        "What was done",
        _paragraph(
            f"{result.protocol.num_splits} random splits from seed {result.protocol.seed}. "
            f"Closed set: of each person {result.protocol.num_enrolled} photo(s) are enrolled, and "
            "all other photos are searched for. Open set: "
            f"{result.protocol.stranger_share:.0%} of the people not enrolled; "
            f"{result.num_mated:,} mated and {result.num_non_mated:,} non-mated searches in "
            f"galleries of {result.open_gallery[0]:,.0f} people with {result.open_gallery[1]:,.0f} "
            "faces."
            + (
                f" {result.num_unlabelled:,} photos had a face and no label, or not one face "
                "that it is for; they were left out."
                if result.num_unlabelled
                else ""
            )
        ),
    )
    page.add("Closed set", _table(closed_set_table(result)))
    page.add(
        "Open set",
        _table(open_set_table(result)),
        _paragraph(
            "An FPIR can be told with 3 / FPIR different strangers or more. A threshold is good "
            "for a gallery of this size; for searches in the index there is facetrove calibrate."
        ),
        _paragraph(
            "What the index misses of what comparing with every face finds is the difference "
            "between the rows."
            if result.index is not None
            else "This index compares every face, so nothing is lost by searching through it."
        ),
    )
    at = best.thresholds.get(FPIR)
    det = []
    for name, way in ways.items():
        curve, floor = way.curve.thinned(), ALL_BUT_NOTHING / 10
        rates = (np.maximum(curve.false_positive, floor), np.maximum(curve.false_negative, floor))
        det.append(Line(name, *rates))
    page.add(
        "Curves",
        _plots(
            _figure(
                line_plot(
                    det,
                    Axis("FPIR", log=True, ends=(max(1 / result.num_non_mated, 1e-4), 1)),
                    Axis("FNIR", log=True, ends=(_least(best.curve), 1)),
                ),
                "DET, open set: the share of people that are missed, by the share of strangers "
                "that are answered. Lower is better.",
            ),
            _figure(
                line_plot(
                    [
                        Line(name, np.arange(1, len(way.match_rates) + 1), way.match_rates)
                        for name, way in ways.items()
                    ],
                    Axis("rank", ticks=["", *map(str, range(1, MOST_RANK + 1))]),
                    Axis("share within that rank"),
                    markers=True,
                ),
                "CMC, closed set: the share of searches whose person is among the first so many.",
            ),
            _figure(
                histogram_plot(
                    result.mated,
                    result.non_mated,
                    names=("to the right person", "strangers, highest"),
                    threshold=at,
                    threshold_name="FPIR 0.01",
                ),
                "Similarities in the open set; right of the line they count.",
            ),
        ),
    )
    _add_breakdown(page, result, miss="FNIR", false_alarm="FPIR")
    if examples:
        _add_examples(page, result.worst)
    return page


def robustness_page(result: Robustness) -> Page:
    """What `evaluate robustness` found."""
    clean = result.damaged[0]
    page = Page(
        title="What damage does to identification",
        lead=f"Undamaged, the right person comes first in {clean.rank_one.value:.1%} of the "
        f"searches. {result.num_mated:,} photos of enrolled people and {result.num_strangers:,} "
        "of strangers were damaged and searched for again.",
        facts={
            "rank-1, undamaged": said(clean.rank_one),
            "FNIR, undamaged": said(clean.false_negative),
            "gallery": f"{result.gallery[0]:,} people",
        },
        terms=("Similarity", "Mated, non-mated", "Rank-1, CMC", "FPIR, FNIR", "Intervals"),
    )
    page.add(
        "By damage and strength",
        _table(damage_table(result)),
        _paragraph(
            f"Threshold {result.threshold:.3f}, at which one in a hundred of all "
            f"{result.num_clean:,} undamaged photos of strangers is answered. A face that is not "
            "found any more is a miss. Faces are 112 pixels wide, or "
            "less where they were. Found: share of all faces; similarity: median to the right "
            "person, of those found."
            + (
                f" {result.num_unreadable:,} photos could not be read any more and were left out."
                if result.num_unreadable
                else ""
            )
        ),
    )
    page.add("Curves", _plots(*_damage_figures(result.damaged)))
    return page


def _damage_figures(damaged: Sequence[Damaged]) -> Iterator[str]:
    clean = damaged[0]
    for name in dict.fromkeys(d.damage for d in damaged if d.damage != UNDAMAGED):
        some = [d for d in damaged if d.damage == name]
        labels = [UNDAMAGED, *(f"{d.strength:g}" for d in some)]
        x = np.arange(len(labels))
        lines = [
            Line("rank-1", x, [d.rank_one.value for d in (clean, *some)]),
            Line(
                "FNIR at the undamaged threshold",
                x,
                [d.false_negative.value for d in (clean, *some)],
            ),
            Line("not found", x, [1 - d.found for d in (clean, *some)]),
        ]
        plot = line_plot(
            lines,
            Axis(some[0].unit, ticks=labels),
            Axis("share", ends=(-0.02, 1.02)),
            markers=True,
        )
        yield _figure(plot, f"{name}.")


def _add_breakdown(
    page: Page, result: Verification | Identification, *, miss: str, false_alarm: str
) -> None:
    """Add error rates by group and quality, where they could be told."""
    if result.grouped_at is None:
        return
    at = f"{'an' if false_alarm == 'FPIR' else 'a'} {false_alarm} of {result.grouped_at:g}"
    for column, errors in result.groups.items():
        page.add(
            f"By {column}",
            _table(group_table(column, errors, miss, false_alarm)),
            _paragraph(f"At the threshold of all, at {at}."),
        )
    plot = line_plot(
        [
            Line(
                quality.name,
                [100 * share for share in quality.rejected],
                [r.value for r in quality.false_negative],
            )
            for quality in result.qualities
        ],
        Axis("worst faces left out, %"),
        Axis(miss, ends=(0, None)),
        markers=True,
    )
    page.add(
        "Does it help to reject poor faces?",
        _paragraph(
            f"{miss} at {at}, when so many of the worst faces by a measure are left out; pairs and "
            "searches without a face are no part of this. Score: how sure the detector is. Size: "
            "of the box, in pixels. Sharpness and brightness: of the face's region, the darkest "
            "being the worst. Embedding norm: length of a vector before it is scaled to "
            "1, short where it saw little of a face (Kim, Jain, Liu: AdaFace, CVPR 2022). "
            "Frontality: how little the face is turned aside."
        ),
        _table(reject_table(result.qualities, miss)),
        _plots(_figure(plot, "Error versus reject.")),
        _table(tenth_table(result.qualities, miss)),
    )


def _add_examples(page: Page, worst: Sequence[WrongAnswer]) -> None:
    shown = {
        False: "Taken for one person, and are two",
        True: "Not known again: the photo, and what it was compared with or nearest",
    }
    for mated, heading in shown.items():
        figures = []
        for error in worst:
            if error.mated != mated:
                continue
            places = (error.uri, error.box), (error.other_uri, error.other_box)
            images = "".join(
                f'<img alt="face" src="data:image/jpeg;base64,{_thumbnail(uri, box)}">'
                for uri, box in places
            )
            names = "<br>".join(escape(uri) for uri, _ in places)
            figures.append(
                f"<figure>{images}<figcaption>similarity {error.similarity:.3f}<br>{names}"
                "</figcaption></figure>"
            )
        if figures:
            page.add(heading, f"<div class=faces>{''.join(figures)}</div>")


def _thumbnail(uri: str, box: tuple[float, ...]) -> str:
    content = BytesIO()
    face_tile_of(uri, Box(*box)).save(content, format="JPEG", quality=85)
    return base64.b64encode(content.getvalue()).decode()


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in table.titles)
    cells = (
        f"<tr>{''.join(f'<td>{escape(value)}</td>' for value in row)}</tr>" for row in table.rows
    )
    return (
        f"<div class=scroll><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(cells)}</tbody></table></div>"
    )


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _figure(svg: str, caption: str) -> str:
    content = base64.b64encode(svg.encode()).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/svg+xml;base64,{content}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _plots(*figures: str) -> str:
    return f"<div class=plots>{''.join(figures)}</div>"


def _floor(curve: ErrorCurve, least: float) -> float:
    """Where an axis of true accept rates begins, if that of false ones begins at `least`."""
    shown = curve.false_positive >= least
    missed = float(curve.false_negative[shown].max()) if shown.any() else 1.0
    return max(0.0, 1 - 2 * max(missed, 0.01))


def _least(curve: ErrorCurve) -> float:
    """Where an axis of FNIR begins."""
    possible = curve.false_negative[curve.false_negative > 0]
    return max(ALL_BUT_NOTHING, float(possible.min()) / 2) if len(possible) else ALL_BUT_NOTHING
