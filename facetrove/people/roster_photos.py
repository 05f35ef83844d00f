"""The photos that show a roster's people: who is in them, and who appears with whom."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facetrove.people.roster import Roster

MANY_PHOTOS = 20_000
"""From this number of photos on, all photos are sorted by uri once instead of these each time."""

Photos = NDArray[np.int32]
"""Numbers of photos, as in `RosterFaces.photos`."""


@dataclass(frozen=True)
class ShownPeople:
    """Whom a photo shows.

    Attributes:
        uri: where the photo lies.
        photo_id: sha256 of its content, in hexadecimal.
        person_ids: numbers of the people whom it shows, ascending.
        num_unknown: number of faces whose person nobody knows.
    """

    uri: str
    photo_id: str
    person_ids: list[int]
    num_unknown: int


def photos_with(roster: Roster, wanted: Collection[int], unwanted: Collection[int]) -> Photos:
    """Return the photos that show all of some people and none of others, sorted by uri.

    Args:
        roster: the people.
        wanted, unwanted: slots of people.
    """
    theirs = [np.unique(roster.faces.photos[roster.rows_of(slot)]) for slot in wanted]
    found = roster.faces.live_photos if not theirs else min(theirs, key=len)
    for photos in theirs:
        found = np.intersect1d(found, photos, assume_unique=True)
    for slot in unwanted:
        found = np.setdiff1d(found, roster.faces.photos[roster.rows_of(slot)])
    if len(found) > MANY_PHOTOS:
        return found[np.argsort(roster.faces.photo_ranks[found])]
    uris = uris_of(roster, found)
    order = sorted(range(len(found)), key=uris.__getitem__)
    return found[np.array(order, np.int64)]


def uris_of(roster: Roster, photos: Photos) -> list[str]:
    """Return where photos lie."""
    rows = pa.array(roster.faces.first_rows(photos))
    uris: list[str] = roster.faces.uris.take(rows).to_pylist()
    return uris


def after_uri(roster: Roster, photos: Photos, uri: str) -> Photos:
    """Return those of some photos, sorted by uri, that come after one."""

    def uri_at(place: int) -> str:
        return uris_of(roster, photos[place : place + 1])[0]

    return photos[bisect_right(range(len(photos)), uri, key=uri_at) :]


def shown_in(roster: Roster, photos: Photos) -> list[ShownPeople]:
    """Return whom photos show."""
    faces = roster.faces
    rows = faces.in_photos(photos)
    people = roster.people_of(rows)
    first = pa.array(faces.first_rows(photos))
    uris, photo_ids = (values.take(first).to_pylist() for values in (faces.uris, faces.photo_ids))
    shown: dict[int, list[int]] = {photo: [] for photo in photos.tolist()}
    for photo, slot in zip(faces.photos[rows].tolist(), people.tolist(), strict=True):
        shown[photo].append(slot)
    return [
        ShownPeople(
            uri,
            photo_id,
            roster.numbers[sorted({slot for slot in slots if slot >= 0})].tolist(),
            slots.count(-1),
        )
        for uri, photo_id, slots in zip(uris, photo_ids, shown.values(), strict=True)
    ]


def companions(roster: Roster, wanted: Collection[int]) -> list[tuple[int, int]]:
    """Return who is in photos with all of some people: slot and number of photos, most first.

    Args:
        roster: the people.
        wanted: slots of people.
    """
    theirs = [np.unique(roster.faces.photos[roster.rows_of(slot)]) for slot in wanted]
    photos = theirs[0]
    for some in theirs[1:]:
        photos = np.intersect1d(photos, some, assume_unique=True)
    rows = roster.faces.in_photos(photos)
    people = roster.people_of(rows)
    pairs = np.unique(np.stack([roster.faces.photos[rows], people])[:, people >= 0], axis=1)
    slots, counts = np.unique(pairs[1], return_counts=True)
    order = np.lexsort([slots, -counts])
    found = zip(slots[order].tolist(), counts[order].tolist(), strict=True)
    return [(slot, count) for slot, count in found if slot not in wanted]
