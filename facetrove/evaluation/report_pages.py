"""The three report pages: verification of pairs, identification, and robustness to corruption."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from facetrove.evaluation.identify import MAX_RANK, Accuracy, Identification
from facetrove.evaluation.metrics import ErrorCurve
from facetrove.evaluation.page import Page, figure, paragraph, plots, table
from facetrove.evaluation.pair_faces import NO_FACE
from facetrove.evaluation.pairs import Verification
from facetrove.evaluation.plots import Axis, Line, PlotProcess
from facetrove.evaluation.report_examples import add_examples
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

FPIR = 1e-2
"""FPIR of the main figures and of the threshold in the plot of similarities."""

MIN_PLOTTED_RATE = 1e-4
"""Lowest rate at the end of a logarithmic axis."""

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
    """Make the report page of an evaluation.

    Args:
        result: the result of `evaluate_pairs`, `evaluate_identification` or `evaluate_robustness`.
        examples: whether to show the faces of the worst errors.

    Raises:
        FaceTroveError: the plots cannot be drawn.
    """
    with PlotProcess() as draw:
        if isinstance(result, Robustness):
            return _robustness_page(draw, result)
        if isinstance(result, Verification):
            page = _verification_page(draw, result)
            _add_breakdown(draw, page, result, miss="FRR", false_alarm="FAR")
        else:
            page = _identification_page(draw, result)
            _add_breakdown(draw, page, result, miss="FNIR", false_alarm="FPIR")
    if examples:
        add_examples(page, result.worst)
    return page


def _verification_page(draw: PlotProcess, result: Verification) -> Page:
    accuracy = f"{result.accuracy:.4f}"
    if result.accuracy_error is not None:
        accuracy += f" ± {result.accuracy_error:.4f}"
    page = Page(
        title="Is it the same person? Verification of pairs (1:1)",
        lead=f"{result.num_mated:,} mated pairs (two photos of one person) and "
        f"{result.num_non_mated:,} non-mated pairs (photos of two people) were compared; "
        f"{result.accuracy:.1%} were classified correctly.",
        facts={
            "accuracy" + (" in ten folds" if len(result.fold_accuracies) == 10 else ""): accuracy,
            "equal error rate": said(result.equal_error_rate),
            "pairs with a photo in which no face was found": f"{result.num_without_face:,}",
        },
        terms=PAIR_TERMS,
    )
    origin = {
        "list": "The folds are those of the list of pairs.",
        "drawn": f"The list has no folds; {len(result.fold_accuracies)} stratified folds were "
        "drawn at random.",
        "other list": "The threshold was chosen on another list of pairs.",
    }[result.folds]
    page.add(
        "True accept rate by false accept rate",
        table(accept_table(result)),
        paragraph("A FAR is reported only with at least 1 / FAR non-mated pairs."),
    )
    page.add("Curves", plots(_roc_figure(draw, result), _pair_similarities_figure(draw, result)))
    page.add("Accuracy by fold", paragraph(origin), table(fold_table(result)))
    return page


def _roc_figure(draw: PlotProcess, result: Verification) -> str:
    curve = result.curve.thinned()
    min_far = 1 / result.num_non_mated
    return figure(
        draw.line_plot(
            [Line("", np.maximum(curve.false_positive, 0), 1 - curve.false_negative)],
            Axis("false accept rate", log=True, ends=(min_far, 1)),
            Axis("true accept rate", ends=(_min_tar(curve, min_far), 1.002)),
            steps=True,
        ),
        "ROC curve: true accept rate (share of mated pairs accepted) by false accept rate (share "
        f"of non-mated pairs accepted). Area under the curve: {result.area:.4f}.",
    )


def _pair_similarities_figure(draw: PlotProcess, result: Verification) -> str:
    return figure(
        draw.histogram_plot(
            result.mated[result.mated > NO_FACE],
            result.non_mated[result.non_mated > NO_FACE],
            names=("mated (one person)", "non-mated (two people)"),
            threshold=float(np.median(result.fold_thresholds)),
            threshold_name="threshold (median of the folds)",
        ),
        "Similarities of the pairs with a face in both photos. The less the two distributions "
        "overlap, the better.",
    )


def _identification_page(draw: PlotProcess, result: Identification) -> Page:
    best = result.index or result.model
    page = Page(
        title="Who is it? Identification in a gallery (1:N)",
        lead=_identification_lead(result, best),
        facts={
            "rank-1, closed set": said(best.rank_one),
            "FNIR at an FPIR of 0.01, open set": said(best.false_negative.get(FPIR)),
            "labelled people and photos": f"{result.num_people:,} and {result.num_faces:,}",
        },
        terms=IDENTIFICATION_TERMS,
    )
    page.add("Protocol", paragraph(_protocol_text(result)))
    page.add("Closed set", table(closed_set_table(result)))
    page.add(
        "Open set",
        table(open_set_table(result)),
        paragraph(
            "FNIR at an FPIR is reported only with non-mated searches for at least 3 / FPIR "
            "different people. A threshold holds for galleries of this size; facetrove calibrate "
            "measures thresholds for searches in the whole index."
        ),
        paragraph(
            "The difference between the two ways to search is what the index's approximate search "
            "misses."
            if result.index is not None
            else "This index compares every face, so its search misses nothing."
        ),
    )
    figures = (
        _det_figure(draw, result, best),
        _cmc_figure(draw, result),
        _open_set_figure(draw, result, best),
    )
    page.add("Curves", plots(*figures))
    return page


def _identification_lead(result: Identification, best: Accuracy) -> str:
    lead = (
        f"In {best.rank_one.value:.1%} of {result.num_closed:,} closed-set searches among "
        f"{result.closed_gallery[0]:,.0f} people, the person in the probe photo was the first "
        "candidate (rank-1)."
    )
    fnir = best.false_negative.get(FPIR)
    if fnir is not None:
        lead += (
            f" In the open set, among {result.open_gallery[0]:,.0f} people, FNIR is "
            f"{fnir.value:.1%} at an FPIR of 0.01: at the threshold where one in a hundred "
            "searches for people who are not enrolled returns a candidate, that share of the "
            "searches for enrolled people miss them."
        )
    return lead


def _protocol_text(result: Identification) -> str:
    protocol = result.protocol
    text = (
        f"{protocol.splits} random splits from seed {protocol.seed}. "
        f"Closed set: {protocol.enrol} photo(s) of each person are enrolled; the person's "
        f"other photos are probes. Open set: {protocol.strangers:.0%} of the people are kept out "
        f"of the gallery, so their photos are non-mated probes; {result.num_mated:,} mated and "
        f"{result.num_non_mated:,} non-mated searches in galleries of "
        f"{result.open_gallery[0]:,.0f} people with {result.open_gallery[1]:,.0f} faces."
    )
    if result.num_unlabelled:
        text += (
            f" {result.num_unlabelled:,} photos with faces were left out: they have no label, or "
            "no face that the option face selects."
        )
    return text


def _det_figure(draw: PlotProcess, result: Identification, best: Accuracy) -> str:
    lines = []
    for name, way in ways_of(result).items():
        curve, floor = way.curve.thinned(), MIN_PLOTTED_RATE / 10
        rates = (np.maximum(curve.false_positive, floor), np.maximum(curve.false_negative, floor))
        lines.append(Line(name, *rates))
    return figure(
        draw.line_plot(
            lines,
            Axis("FPIR", log=True, ends=(max(1 / result.num_non_mated, 1e-4), 1)),
            Axis("FNIR", log=True, ends=(_min_fnir(best.curve), 1)),
        ),
        "DET curve, open set: FNIR (share of mated searches that miss the person) by FPIR (share "
        "of non-mated searches that return a candidate). Lower is better.",
    )


def _cmc_figure(draw: PlotProcess, result: Identification) -> str:
    return figure(
        draw.line_plot(
            [
                Line(name, np.arange(1, len(way.match_rates) + 1), way.match_rates)
                for name, way in ways_of(result).items()
            ],
            Axis("rank", ticks=["", *map(str, range(1, MAX_RANK + 1))]),
            Axis("share of searches within that rank"),
            markers=True,
        ),
        "CMC, closed set: the share of searches in which the person has at most that rank.",
    )


def _open_set_figure(draw: PlotProcess, result: Identification, best: Accuracy) -> str:
    return figure(
        draw.histogram_plot(
            result.mated,
            result.non_mated,
            names=("mated searches, to the person", "non-mated searches, highest"),
            threshold=best.thresholds.get(FPIR),
            threshold_name="threshold at FPIR 0.01",
        ),
        "Similarities in the open set. Candidates at or right of the threshold are returned.",
    )


def _robustness_page(draw: PlotProcess, result: Robustness) -> Page:
    clean = result.corrupted[0]
    page = Page(
        title="Robustness of identification to corrupted photos",
        lead=f"Rank-1 is {clean.rank_one.value:.1%} with uncorrupted probes. {result.num_mated:,} "
        f"photos of enrolled people and {result.num_strangers:,} of people who are not enrolled "
        "were corrupted and searched for.",
        facts={
            "rank-1, uncorrupted": said(clean.rank_one),
            "FNIR at an FPIR of 0.01, uncorrupted": said(clean.false_negative),
            "gallery": f"{result.gallery[0]:,} people",
        },
        terms=ROBUSTNESS_TERMS,
    )
    page.add(
        "By corruption and strength",
        table(corruption_table(result)),
        paragraph(
            f"FNIR and FPIR are at the threshold {result.threshold:.3f}, at which FPIR is 0.01 "
            f"over all {result.num_clean:,} uncorrupted photos of people who are not enrolled. "
            "Faces more than 112 pixels wide were shrunk to that before corruption. A face that "
            "the detector does not find after corruption counts as a miss. Found: share of all "
            "faces that it finds. Similarity: median to the person's enrolled face, over these."
            + (
                f" {result.num_unreadable:,} photos could not be read any more and were left out."
                if result.num_unreadable
                else ""
            )
        ),
    )
    page.add("Curves", plots(*_corruption_figures(draw, result.corrupted)))
    return page


def _corruption_figures(draw: PlotProcess, corrupted: Sequence[Corrupted]) -> Iterator[str]:
    clean = corrupted[0]
    for name in dict.fromkeys(d.corruption for d in corrupted if d.corruption != UNCORRUPTED):
        some = [d for d in corrupted if d.corruption == name]
        labels = [UNCORRUPTED, *(f"{d.strength:g}" for d in some)]
        x = np.arange(len(labels))
        lines = [
            Line("rank-1", x, [d.rank_one.value for d in (clean, *some)]),
            Line("FNIR", x, [d.false_negative.value for d in (clean, *some)]),
            Line("face not found", x, [1 - d.found for d in (clean, *some)]),
        ]
        plot = draw.line_plot(
            lines,
            Axis(some[0].unit, ticks=labels),
            Axis("rate", ends=(-0.02, 1.02)),
            markers=True,
        )
        yield figure(plot, f"{name}.")


def _add_breakdown(
    draw: PlotProcess,
    page: Page,
    result: Verification | Identification,
    *,
    miss: str,
    false_alarm: str,
) -> None:
    """Add error rates by group and by quality, where there were enough trials to measure them."""
    if result.grouped_at is None:
        return
    at = f"{'an' if false_alarm == 'FPIR' else 'a'} {false_alarm} of {result.grouped_at:g}"
    for column, errors in result.groups.items():
        page.add(
            f"By {column}",
            table(group_table(column, errors, miss, false_alarm)),
            paragraph(f"All groups are at one threshold, that of {at} over all of them."),
        )
    plot = draw.line_plot(
        [
            Line(
                quality.name,
                [100 * share for share in quality.rejected],
                [r.value for r in quality.false_negative],
            )
            for quality in result.qualities
        ],
        Axis("faces of lowest quality left out, %"),
        Axis(miss, ends=(0, None)),
        markers=True,
    )
    page.add(
        "Does it help to reject faces of low quality?",
        paragraph(
            f"{miss} at the threshold of {at}, when the faces of lowest quality by a measure are "
            "left out, and pairs without a face too. Score: the detector's confidence in the face. "
            "Face size: shorter side of the box, in pixels. Sharpness and brightness: of the "
            "face's region; dark faces count as low quality. Embedding norm: length of the "
            "embedding before it is scaled to 1; it is short where the network makes little of a "
            "face (Kim, Jain, Liu: AdaFace, CVPR 2022). Frontality: how little the head is turned "
            "sideways."
        ),
        table(reject_table(result.qualities, miss)),
        plots(figure(plot, "Error-versus-reject curves.")),
        table(tenth_table(result.qualities, miss)),
    )


def _min_tar(curve: ErrorCurve, min_far: float) -> float:
    """Choose the lower end of the axis of TAR, given that of the axis of FAR."""
    shown = curve.false_positive >= min_far
    missed = float(curve.false_negative[shown].max()) if shown.any() else 1.0
    return max(0.0, 1 - 2 * max(missed, 0.01))


def _min_fnir(curve: ErrorCurve) -> float:
    """Choose the lower end of the axis of FNIR."""
    possible = curve.false_negative[curve.false_negative > 0]
    return max(MIN_PLOTTED_RATE, float(possible.min()) / 2) if len(possible) else MIN_PLOTTED_RATE
