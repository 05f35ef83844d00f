"""The three report pages: about pairs, about identification, and about corruption."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape
from io import BytesIO

import numpy as np

from faces.models.face import Box
from facetrove.evaluation.breakdown import WrongAnswer
from facetrove.evaluation.identify import MAX_RANK, Accuracy, Identification
from facetrove.evaluation.metrics import ErrorCurve
from facetrove.evaluation.page import Page, figure, paragraph, plots, table
from facetrove.evaluation.pair_faces import NO_FACE
from facetrove.evaluation.pairs import Verification
from facetrove.evaluation.plots import Axis, Line, histogram_plot, line_plot
from facetrove.evaluation.robustness import UNCORRUPTED, Corrupted, Robustness
from facetrove.evaluation.tables import (
    accept_table,
    closed_set_table,
    corruption_table,
    fold_table,
    group_table,
    open_set_table,
    reject_table,
    said,
    tenth_table,
    ways_of,
)
from search.contact_sheet import face_tile_of

FPIR = 1e-2
"""Of the figures to see first."""

ALL_BUT_NOTHING = 1e-4

PAIR_TERMS = (
    "Similarity",
    "Mated, non-mated",
    "FAR, FRR",
    "Equal error rate",
    "Accuracy in ten folds",
    "Error versus reject",
    "Intervals",
)
IDENTIFICATION_TERMS = (
    "Similarity",
    "Mated, non-mated",
    "Rank-1, CMC",
    "FPIR, FNIR",
    "DET",
    "Error versus reject",
    "Intervals",
)
ROBUSTNESS_TERMS = ("Similarity", "Mated, non-mated", "Rank-1, CMC", "FPIR, FNIR", "Intervals")


def page_of(result: Verification | Identification | Robustness, *, examples: bool = False) -> Page:
    """Make the page of what an evaluation found.

    Args:
        result: what `evaluate_pairs`, `evaluate_identification` or `evaluate_robustness` returned.
        examples: whether to show the faces of the worst errors.
    """
    if isinstance(result, Robustness):
        return _robustness_page(result)
    if isinstance(result, Verification):
        page = _verification_page(result)
        _add_breakdown(page, result, miss="FRR", false_alarm="FAR")
    else:
        page = _identification_page(result)
        _add_breakdown(page, result, miss="FNIR", false_alarm="FPIR")
    if examples:
        _add_examples(page, result.worst)
    return page


def _verification_page(result: Verification) -> Page:
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
        terms=PAIR_TERMS,
    )
    origin = {
        "list": "Folds are those of the list.",
        "drawn": f"The list has no folds: {len(result.fold_accuracies)} were drawn at random, each "
        "with its share of both kinds of pairs.",
        "other list": "The threshold was chosen on another list of pairs.",
    }[result.folds]
    page.add(
        "True accept rate by false accept rate",
        table(accept_table(result)),
        paragraph(f"A FAR can be told with 1 / FAR pairs of two people or more. {origin}"),
    )
    page.add("Curves", plots(_roc_figure(result), _pair_similarities_figure(result)))
    page.add("Folds", table(fold_table(result)))
    return page


def _roc_figure(result: Verification) -> str:
    curve = result.curve.thinned()
    least = 1 / result.num_non_mated
    return figure(
        line_plot(
            [Line("", np.maximum(curve.false_positive, 0), 1 - curve.false_negative)],
            Axis("false accept rate", log=True, ends=(least, 1)),
            Axis("true accept rate", ends=(_floor(curve, least), 1.002)),
            steps=True,
        ),
        "ROC: the share of pairs of one person that are accepted, by the share of pairs of "
        f"two that are accepted by mistake. Area under it {result.area:.4f}.",
    )


def _pair_similarities_figure(result: Verification) -> str:
    return figure(
        histogram_plot(
            result.mated[result.mated > NO_FACE],
            result.non_mated[result.non_mated > NO_FACE],
            names=("one person", "two people"),
            threshold=float(np.median(result.fold_thresholds)),
            threshold_name="threshold, median of the folds",
        ),
        "Similarities of pairs whose faces were found: the less the two hills overlap, the better.",
    )


def _identification_page(result: Identification) -> Page:
    best = result.index or result.model
    page = Page(
        title="Who is it? Identification in a gallery",
        lead=_identification_lead(result, best),
        facts={
            "rank-1, closed set": said(best.rank_one),
            "FNIR at an FPIR of 0.01": said(best.false_negative.get(FPIR)),
            "people and photos with labels": f"{result.num_people:,} and {result.num_faces:,}",
        },
        terms=IDENTIFICATION_TERMS,
    )
    page.add("What was done", paragraph(_what_was_done(result)))
    page.add("Closed set", table(closed_set_table(result)))
    page.add(
        "Open set",
        table(open_set_table(result)),
        paragraph(
            "An FPIR can be told with 3 / FPIR different strangers or more. A threshold is good "
            "for a gallery of this size; for searches in the index there is facetrove calibrate."
        ),
        paragraph(
            "What the index misses of what comparing with every face finds is the difference "
            "between the rows."
            if result.index is not None
            else "This index compares every face, so nothing is lost by searching through it."
        ),
    )
    figures = (_det_figure(result, best), _cmc_figure(result), _open_set_figure(result, best))
    page.add("Curves", plots(*figures))
    return page


def _identification_lead(result: Identification, best: Accuracy) -> str:
    lead = (
        f"In {result.num_closed:,} searches among {result.closed_gallery[0]:,.0f} people the "
        f"right person came first in {best.rank_one.value:.1%}."
    )
    fnir = best.false_negative.get(FPIR)
    if fnir is not None:
        lead += (
            f" Among {result.open_gallery[0]:,.0f} people, with a threshold that takes one "
            f"stranger in a hundred for somebody, {fnir.value:.1%} of the searches for people who "
            "are there miss them."
        )
    return lead


def _what_was_done(result: Identification) -> str:
    protocol = result.protocol
    done = (
        f"{protocol.splits} random splits from seed {protocol.seed}. "
        f"Closed set: of each person {protocol.enrol} photo(s) are enrolled, and "
        "all other photos are searched for. Open set: "
        f"{protocol.strangers:.0%} of the people not enrolled; "
        f"{result.num_mated:,} mated and {result.num_non_mated:,} non-mated searches in "
        f"galleries of {result.open_gallery[0]:,.0f} people with {result.open_gallery[1]:,.0f} "
        "faces."
    )
    if result.num_unlabelled:
        done += (
            f" {result.num_unlabelled:,} photos had a face and no label, or not one face "
            "that it is for; they were left out."
        )
    return done


def _det_figure(result: Identification, best: Accuracy) -> str:
    lines = []
    for name, way in ways_of(result).items():
        curve, floor = way.curve.thinned(), ALL_BUT_NOTHING / 10
        rates = (np.maximum(curve.false_positive, floor), np.maximum(curve.false_negative, floor))
        lines.append(Line(name, *rates))
    return figure(
        line_plot(
            lines,
            Axis("FPIR", log=True, ends=(max(1 / result.num_non_mated, 1e-4), 1)),
            Axis("FNIR", log=True, ends=(_least(best.curve), 1)),
        ),
        "DET, open set: the share of people that are missed, by the share of strangers "
        "that are answered. Lower is better.",
    )


def _cmc_figure(result: Identification) -> str:
    return figure(
        line_plot(
            [
                Line(name, np.arange(1, len(way.match_rates) + 1), way.match_rates)
                for name, way in ways_of(result).items()
            ],
            Axis("rank", ticks=["", *map(str, range(1, MAX_RANK + 1))]),
            Axis("share within that rank"),
            markers=True,
        ),
        "CMC, closed set: the share of searches whose person is among the first so many.",
    )


def _open_set_figure(result: Identification, best: Accuracy) -> str:
    return figure(
        histogram_plot(
            result.mated,
            result.non_mated,
            names=("to the right person", "strangers, highest"),
            threshold=best.thresholds.get(FPIR),
            threshold_name="FPIR 0.01",
        ),
        "Similarities in the open set; right of the line they count.",
    )


def _robustness_page(result: Robustness) -> Page:
    clean = result.corrupted[0]
    page = Page(
        title="What corruption does to identification",
        lead=f"Uncorrupted, the right person comes first in {clean.rank_one.value:.1%} of the "
        f"searches. {result.num_mated:,} photos of enrolled people and {result.num_strangers:,} "
        "of strangers were corrupted and searched for again.",
        facts={
            "rank-1, uncorrupted": said(clean.rank_one),
            "FNIR, uncorrupted": said(clean.false_negative),
            "gallery": f"{result.gallery[0]:,} people",
        },
        terms=ROBUSTNESS_TERMS,
    )
    page.add(
        "By corruption and strength",
        table(corruption_table(result)),
        paragraph(
            f"Threshold {result.threshold:.3f}, at which one in a hundred of all "
            f"{result.num_clean:,} uncorrupted photos of strangers is answered. A face that is not "
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
    page.add("Curves", plots(*_corruption_figures(result.corrupted)))
    return page


def _corruption_figures(corrupted: Sequence[Corrupted]) -> Iterator[str]:
    clean = corrupted[0]
    for name in dict.fromkeys(d.corruption for d in corrupted if d.corruption != UNCORRUPTED):
        some = [d for d in corrupted if d.corruption == name]
        labels = [UNCORRUPTED, *(f"{d.strength:g}" for d in some)]
        x = np.arange(len(labels))
        lines = [
            Line("rank-1", x, [d.rank_one.value for d in (clean, *some)]),
            Line(
                "FNIR at the uncorrupted threshold",
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
        yield figure(plot, f"{name}.")


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
            table(group_table(column, errors, miss, false_alarm)),
            paragraph(f"At the threshold of all, at {at}."),
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
        paragraph(
            f"{miss} at {at}, when so many of the worst faces by a measure are left out; pairs and "
            "searches without a face are no part of this. Score: how sure the detector is. Size: "
            "of the box, in pixels. Sharpness and brightness: of the face's region, the darkest "
            "being the worst. Embedding norm: length of a vector before it is scaled to "
            "1, short where it saw little of a face (Kim, Jain, Liu: AdaFace, CVPR 2022). "
            "Frontality: how little the face is turned aside."
        ),
        table(reject_table(result.qualities, miss)),
        plots(figure(plot, "Error versus reject.")),
        table(tenth_table(result.qualities, miss)),
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


def _floor(curve: ErrorCurve, least: float) -> float:
    """Where an axis of true accept rates begins, if that of false ones begins at `least`."""
    shown = curve.false_positive >= least
    missed = float(curve.false_negative[shown].max()) if shown.any() else 1.0
    return max(0.0, 1 - 2 * max(missed, 0.01))


def _least(curve: ErrorCurve) -> float:
    """Where an axis of FNIR begins."""
    possible = curve.false_negative[curve.false_negative > 0]
    return max(ALL_BUT_NOTHING, float(possible.min()) / 2) if len(possible) else ALL_BUT_NOTHING
