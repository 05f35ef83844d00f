"""What a purge of the dataset takes out of the watches."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from faces.dataset.deletions import Deletions, content_digest, face_digest
from faces.dataset.names import person_names
from facetrove.service.watch_records import Watch
from facetrove.service.watch_store import WatchStore, face_numbers
from indexer.snapshot import Snapshot

COUNTS = ("watches_removed", "watch_matches_removed")
"""Names of the numbers that `forget_purged` returns."""

_QUOTED = re.compile(r"'((?:[^']|'')*)'")
_HEXADECIMAL = re.compile(r"[0-9a-f]{8,64}")


def forget_purged(
    store: WatchStore, snapshot: Snapshot, deletions: Deletions, names: Sequence[str]
) -> dict[str, int]:
    """Remove all that watches hold of faces that a purge has removed, and rewrite their file.

    Gone are faces that the index lacks, unless they can still be taken back. A watch is removed if
    it was made from faces of which none is left, or if its filter names what was purged.

    Args:
        store: the watches.
        snapshot: the version of the index after the purge.
        deletions: the deletions of the dataset after the purge.
        names: names of people that the purge has removed.

    Returns:
        The numbers of watches and of matches that were removed.
    """
    kept = _kept(snapshot, deletions)
    watches = store.newest()
    named = _named_in_filters(watches, snapshot, deletions, names)
    removed, shrunk = [], []
    for watch in watches:
        left = _among(watch.faces, kept)
        if watch.number in named or (watch.faces and not left):
            removed.append(watch)
        elif len(left) < len(watch.faces):
            shrunk.append((watch, left))
    store.delete(removed)
    num_matches = sum(watch.num_matches for watch in removed)
    num_matches += store.forget_faces(
        lambda ids: pc.invert(pc.is_in(ids, value_set=kept)), face_numbers(kept.to_pylist())
    )
    store.replace_faces(shrunk)
    store.vacuum()
    return dict(zip(COUNTS, (len(removed), num_matches), strict=True))


def _kept(snapshot: Snapshot, deletions: Deletions) -> pa.Array:
    """Return (n,) string, the ids of the index's faces and of those that can be taken back."""
    live = [
        segment.faces.table["face_id"].filter(pa.array(segment.live())).combine_chunks()
        for segment in snapshot.segments
    ]
    return pa.concat_arrays([deletions.withheld, *live])


def _among(face_ids: Collection[str], kept: pa.Array) -> list[str]:
    ids = pa.array(face_ids, pa.string())
    found: list[str] = ids.filter(pc.is_in(ids, value_set=kept)).to_pylist()
    return found


def _named_in_filters(
    watches: Sequence[Watch], snapshot: Snapshot, deletions: Deletions, names: Sequence[str]
) -> set[int]:
    """Return the numbers of the watches whose filter names a person, face or photo that is purged.

    The address of a photo counts as purged if it stands there whole, and the index has no photo at
    it.
    """
    gone_digests = {*deletions.final_digests.to_pylist(), *deletions.final_contents.to_pylist()}
    people = person_names(names)
    places: dict[int, set[str]] = {}
    found = set()
    for watch in watches:
        where = watch.filter or ""
        quoted = [text.replace("''", "'") for text in _QUOTED.findall(where)]
        ids = [text for value in quoted for text in _HEXADECIMAL.findall(value.lower())]
        digests = {digest(text) for text in ids for digest in (face_digest, content_digest)}
        if digests & gone_digests or any(name.is_in(where) for name in people):
            found.add(watch.number)
        places[watch.number] = {text for text in quoted if _is_address(text)}
    missing = _without_photo({text for some in places.values() for text in some}, snapshot)
    return found | {number for number, some in places.items() if some & missing}


def _is_address(text: str) -> bool:
    return (text.startswith("/") or "://" in text) and "%" not in text


def _without_photo(uris: set[str], snapshot: Snapshot) -> set[str]:
    """Return those of some addresses at which an index has no photo."""
    missing = pa.array(sorted(uris), pa.string())
    for segment in snapshot.segments if len(missing) else ():
        faces = segment.faces.table.filter(pa.array(segment.live()))
        there = pa.chunked_array(
            [*faces["uri"].chunks, *(pc.list_flatten(part) for part in faces["also_at"].chunks)],
            pa.string(),
        )
        missing = missing.filter(pc.invert(pc.is_in(missing, value_set=there)))
    return set(missing.to_pylist())
