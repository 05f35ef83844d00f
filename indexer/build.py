"""Build an index from a dataset."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from faces.contract import require_same_contract
from faces.dataset import Dataset, embedding_matrix, faces_state
from faces.errors import DamagedFileError, WrongUsageError
from faces.files import PRIVATE, TEMPORARY_SUFFIX, remove_temporaries, writer_lock
from faces.pipeline import has_unit_length
from indexer.manifest import Manifest, manifest_name, publish, read_current
from indexer.recipes import build_faiss_index, choose_recipe
from indexer.segment import FACES_SCHEMA, segment_dir, write_segment


def build_index(
    dataset: str | Path,
    index: str | Path,
    *,
    recipe: str = "auto",
    on_progress: Callable[[str], None] = lambda _: None,
) -> Manifest:
    """Bring an index up to date with a dataset; does nothing when it is.

    Args:
        dataset: folder written by the embed job.
        index: folder made, or given a new version. Readers of the old version keep it.
        recipe: `exact`, `ivf`, or `auto`, which chooses by the number of faces.
        on_progress: called with what is about to be done.

    Returns:
        The manifest now in force.

    Raises:
        WrongUsageError: no such dataset, no face in it, no such recipe, or `index` is
            something else.
        ContractMismatchError: the index holds another model's embeddings.
        DamagedFileError: a file of the dataset is damaged.
        BusyError: another process is writing the index.
    """
    source = Dataset.open(Path(dataset))
    source.require_whole()
    index_dir = Path(index)
    _require_index_or_empty(index_dir)
    index_dir.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
    with writer_lock(index_dir, what=f"index {index_dir}"):
        previous = _read_previous(index_dir)
        if previous is not None:
            require_same_contract(
                source.contract,
                previous.contract,
                ours_name=f"dataset {source.path}",
                theirs_name=f"index {index_dir}",
                remedy="name a new index",
            )
        on_progress("reading faces")
        photos = source.photos([])  # one state of the dataset, whatever is written meanwhile
        num_faces = sum(len(table) for table in source.faces(["face_id"], photos=photos))
        if num_faces == 0:
            raise WrongUsageError(f"dataset {source.path} holds no face; embed photos of people")
        chosen = choose_recipe(recipe, num_faces)
        state = faces_state(photos)
        if previous is not None and _is_up_to_date(index_dir, previous, state, chosen.factory):
            return previous
        on_progress(f"building {chosen.factory} over {num_faces} faces")
        vectors, tuned, recall = build_faiss_index(
            chosen,
            lambda: _embeddings(source, photos),
            num_faces=num_faces,
            dimension=source.contract.dimension,
        )
        on_progress("writing")
        manifest = Manifest(
            version=_latest_version(index_dir) + 1,
            contract=source.contract,
            recipe=tuned,
            recall=recall,
            segments=(
                write_segment(index_dir, vectors, source.faces(FACES_SCHEMA.names, photos=photos)),
            ),
            dataset_state=state,
        )
        publish(index_dir, manifest)
        _remove_unused(index_dir, keep=[manifest] if previous is None else [previous, manifest])
    return manifest


_SEGMENT_NAME = re.compile(r"[0-9a-f]{12}")
_MANIFEST_NAME = re.compile(r"manifest-(\d{6,})\.json")


def _require_index_or_empty(index_dir: Path) -> None:
    """Refuse any folder that holds something an index does not: a slip must not cost files."""
    if not index_dir.exists():
        return
    if not index_dir.is_dir() or not all(map(_is_ours, index_dir.iterdir())):
        raise WrongUsageError(
            f"{index_dir} exists and is not a facetrove index; name a new or empty folder"
        )


def _is_ours(entry: Path) -> bool:
    if entry.name == "segments":
        return (
            entry.is_dir()
            and not entry.is_symlink()
            and all(_SEGMENT_NAME.fullmatch(segment.name) for segment in entry.iterdir())
        )
    return (
        entry.name in {"CURRENT", ".lock"}
        or entry.name.endswith(TEMPORARY_SUFFIX)
        or _MANIFEST_NAME.fullmatch(entry.name) is not None
    )


def _read_previous(index_dir: Path) -> Manifest | None:
    """The manifest in force; None where there is none that can be read, so one is built anew."""
    try:
        return read_current(index_dir)
    except (WrongUsageError, DamagedFileError):
        return None


def _latest_version(index_dir: Path) -> int:
    matches = (_MANIFEST_NAME.fullmatch(path.name) for path in index_dir.iterdir())
    return max((int(match[1]) for match in matches if match), default=0)


def _is_up_to_date(index_dir: Path, manifest: Manifest, state: str, factory: str) -> bool:
    """Whether the index holds these faces by this recipe, and its files are whole."""
    if manifest.dataset_state != state or manifest.recipe.factory != factory:
        return False
    try:
        for segment in manifest.segments:
            for name, digest in segment.files.items():
                digest.require(segment_dir(index_dir, segment.segment_id) / name)
    except DamagedFileError:
        return False  # building again is the remedy
    return True


def _embeddings(source: Dataset, photos: pa.Table) -> Iterator[NDArray[np.float32]]:
    for table in source.faces(["embedding"], photos=photos):
        vectors = embedding_matrix(table)
        if not has_unit_length(vectors).all():
            raise DamagedFileError(
                f"dataset {source.path} holds an embedding that does not have length 1: it was "
                "written by something else; embed the photos into a new dataset"
            )
        if len(vectors):
            yield vectors


def _remove_unused(index_dir: Path, *, keep: list[Manifest]) -> None:
    """Remove segments and manifests of older versions, and what killed builds left.

    The version before the new one stays for readers that are just opening it.
    """
    remove_temporaries(index_dir)
    used = {segment.segment_id for manifest in keep for segment in manifest.segments}
    for folder in (index_dir / "segments").iterdir():
        if folder.name not in used:
            shutil.rmtree(folder)
    names = {manifest_name(manifest.version) for manifest in keep}
    for path in index_dir.glob("manifest-*.json"):
        if path.name not in names:
            path.unlink()
