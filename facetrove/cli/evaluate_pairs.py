"""`facetrove evaluate pairs`: measure 1:1 verification on a list of pairs of photos."""

from __future__ import annotations

from pathlib import Path

import click

from faces.dataset.store import Dataset
from facetrove.cli.evaluation_options import (
    Breakdown,
    Run,
    breakdown_options,
    face_option,
    run_options,
)
from facetrove.cli.evaluation_text import Evaluated, show_result, show_table, show_wrong
from facetrove.evaluation.labels import FaceChoice
from facetrove.evaluation.pair_lists import read_pairs
from facetrove.evaluation.pairs import Verification, evaluate_pairs
from facetrove.evaluation.tables import accept_table, group_table, reject_table, said


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.argument("pairs", type=click.Path(path_type=Path), metavar="PAIRS")
@face_option(None)
@click.option(
    "--threshold-from",
    type=click.Path(path_type=Path),
    metavar="PAIRS",
    help="Choose the threshold on this other list of pairs (as in LFW's View 1), instead of by "
    "ten-fold cross-validation.",
)
@breakdown_options
@run_options
def pairs(
    dataset: Path,
    pairs: Path,
    face: FaceChoice | None,
    threshold_from: Path | None,
    breakdown: Breakdown,
    run: Run,
) -> None:
    """Measure how well the embeddings of DATASET tell whether two photos show the same person.

    PAIRS is LFW's pairs.txt, pairsDevTrain.txt or pairsDevTest.txt, or a .csv file with the columns
    photo1, photo2 and same (1 or 0). The columns fold, person1 and person2 are optional; others
    can be named with --by.

    \b
    Examples:
      facetrove evaluate pairs lfw.dataset pairs.txt --report pairs.html
      facetrove evaluate pairs faces.dataset my_pairs.csv --by camera
    """
    result = evaluate_pairs(
        dataset,
        read_pairs(pairs),
        face=face,
        threshold_from=None if threshold_from is None else read_pairs(threshold_from),
        by=breakdown.by,
        examples=breakdown.examples,
        seed=run.seed,
    )
    evaluated = Evaluated(dataset, Dataset.open(dataset).contract)
    show_result(result, evaluated, run, show=_show_verification, examples=breakdown.examples > 0)


def _show_verification(result: Verification) -> None:
    """Print accuracy, error rates and where the errors are."""
    click.echo(
        f"{result.num_mated:,} pairs of one person and {result.num_non_mated:,} of two; in "
        f"{result.num_without_face:,} of them a photo has no detected face"
    )
    folds = {
        "list": f"over the list's {len(result.fold_accuracies)} folds",
        "drawn": f"over {len(result.fold_accuracies)} folds drawn at random",
        "other list": f"at threshold {result.fold_thresholds[0]:.3f}, chosen on the other list",
    }[result.folds]
    error = result.accuracy_error
    spread = "" if error is None else f" +- {error:.4f} (standard error)"
    click.echo(f"accuracy {result.accuracy:.4f}{spread} {folds}")
    click.echo(
        f"equal error rate {said(result.equal_error_rate)}, area under the ROC curve "
        f"{result.area:.4f}"
    )
    show_table(accept_table(result))
    if result.grouped_at is not None:
        click.echo(
            f"at the threshold of FAR {result.grouped_at:g}, without pairs that lack a detected "
            "face:"
        )
        for column, errors in result.groups.items():
            show_table(group_table(column, errors, "FRR", "FAR"))
        show_table(reject_table(result.qualities, "FRR"))
    for answer in result.worst:
        show_wrong(answer, "false reject" if answer.mated else "false accept")
