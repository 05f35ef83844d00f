"""The measured columns of a dataset's faces: what a classifier said of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from faces.core.errors import WrongUsageError
from faces.core.progress import OnProgress, Progress
from faces.dataset.layout import part_file
from faces.dataset.rewrite import replace_faces
from faces.dataset.schema import (
    ADDED_ON_READING,
    MEASURED_NAME,
    PHOTO_SCHEMA,
    face_schema,
    measured_fields,
    read_table,
    with_column,
)
from faces.dataset.store import Dataset
from faces.dataset.writing import DatasetWriter


def require_measurable(dataset: Dataset, label: str) -> None:
    """Check that a label can be the name of a measured column of a dataset.

    Raises:
        WrongUsageError: it is another column's name, or no name for a column.
    """
    ours = {*PHOTO_SCHEMA.names, *face_schema(1).names, *ADDED_ON_READING}
    ours |= {f.name for f in measured_fields(set(dataset.settings.measured) - {label})}
    names = [field.name for field in measured_fields([label])]
    if not MEASURED_NAME.fullmatch(label) or ours.intersection(names):
        raise WrongUsageError(
            f"{label!r} cannot be the name of a measured column: it is taken, or not made of a "
            "letter a-z and then letters, digits and _; write another as label into the TOML file"
        )
    renamed = [f"photo_{name}" for name in names if name in dataset.metadata.names]
    for name in renamed:
        if name in dataset.metadata.names:
            raise WrongUsageError(
                f"dataset {dataset.path} has the columns {name!r} and {label!r}, and beside a "
                f"measured {label!r} the latter is called {name!r} in filters; rename one of both: "
                f"facetrove columns {dataset.path} --rename {name}=list_{label}"
            )


def begin_measuring(
    writer: DatasetWriter, label: str, network: str, on_progress: OnProgress
) -> None:
    """Make room for what a classifier measures: from now on the columns are those of its label.

    What another network has measured under the label is removed from all parts first.

    Args:
        writer: the run that measures.
        label: what is measured.
        network: digest of the classifier's network.
        on_progress: called before each part that is rewritten.
    """
    writer.begin_purge()  # indexes are built anew
    measured = dict(writer.dataset.settings.measured)
    if measured.get(label, network) != network:
        remove_measured(writer, label, on_progress)
        measured = dict(writer.dataset.settings.measured)
    settings = replace(writer.dataset.settings, measured=measured | {label: network})
    writer.dataset = Dataset(writer.dataset.path, settings)
    writer.finish(None)


def remove_measured(writer: DatasetWriter, label: str, on_progress: OnProgress) -> None:
    """Remove the columns of a label from the faces of all parts, and from dataset.json last."""
    dataset = writer.dataset
    parts = dataset.committed_parts()
    for number, part in enumerate(parts):
        on_progress(Progress("removing what was measured before", number, len(parts)))
        name = part_file("faces", part)
        faces = read_table(dataset.folder, name, dataset.face_schema)
        gone = [field.name for field in measured_fields([label])]
        replace_faces(dataset.folder, name, faces.drop_columns(gone))
    left = {name: of for name, of in dataset.settings.measured.items() if name != label}
    writer.dataset = Dataset(dataset.path, replace(dataset.settings, measured=left))
    writer.finish(None)


def write_measured(
    dataset: Dataset, part: str, label: str, found: Mapping[str, tuple[str, float]]
) -> None:
    """Write what was measured on faces of one part, beside what is there.

    Args:
        dataset: the dataset, in which the label is a measured column.
        part: the part's name.
        label: what was measured.
        found: class and probability by face_id.
    """
    name = part_file("faces", part)
    faces = read_table(dataset.folder, name, dataset.face_schema)
    values = [found.get(face_id, (None, None)) for face_id in faces["face_id"].to_pylist()]
    for position, field in enumerate(measured_fields([label])):
        new = pa.array([value[position] for value in values], field.type)
        faces = with_column(faces, field.name, pc.coalesce(new, faces[field.name]))
    replace_faces(dataset.folder, name, faces)
