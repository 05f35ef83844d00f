"""What photo lists say of people: their column `person` names who is in a photo.

It names the face where the photo has one face. Where it has several, it names the face that is
taken for the person whom the same name means elsewhere, if that is one face alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow.compute as pc

from faces.dataset.deleted_pictures import read_deleted_pictures
from faces.dataset.deletions import content_digest, read_deletions
from faces.dataset.names import PERSON
from faces.dataset.people_decisions import MAX_NAME
from faces.dataset.store import Dataset
from faces.photos.metadata import places_column

MIN_PHOTOS = 2
"""From this number of photos on that show several faces, a name that no photo of one face has is
given to the person whom they have in common."""

CLEARLY = 2
"""How many times as many of these photos must show that person as any other."""


@dataclass(frozen=True)
class ListedPhotos:
    """The photos that a list names a person of, by their faces.

    Attributes:
        alone: the name by the face_id of the one face of a photo.
        several: the name and face_ids of each photo that shows several faces.
    """

    alone: Mapping[str, str]
    several: tuple[tuple[str, tuple[str, ...]], ...]

    @classmethod
    def of(cls, dataset: Dataset) -> ListedPhotos:
        """Read which photos of a dataset are named by their lists.

        A photo with different names at several places is left out, and so is one that has lost a
        face: the name may be that face's.

        Args:
            dataset: the dataset.
        """
        if PERSON not in dataset.metadata.names:
            return cls({}, ())
        name = dataset.face_name(PERSON)
        columns = ["face_id", "photo_id", name, places_column(name)]
        faces = dataset.faces(columns).to_arrow()
        kept = pc.and_(pc.is_valid(faces[name]), pc.is_null(faces[places_column(name)]))
        faces = faces.filter(kept).select(["photo_id", "face_id", name])
        photos: defaultdict[str, list[str]] = defaultdict(list)
        names: dict[str, str] = {}
        for photo, face, person in zip(*(c.to_pylist() for c in faces.columns), strict=True):
            text = " ".join(str(person).split())
            if 0 < len(text) <= MAX_NAME:
                photos[photo].append(face)
                names[photo] = text
        whole = {photo: photos[photo] for photo in photos if photo not in _reduced(dataset, photos)}
        return cls(
            {ids[0]: names[photo] for photo, ids in whole.items() if len(ids) == 1},
            tuple((names[photo], tuple(ids)) for photo, ids in whole.items() if len(ids) > 1),
        )

    def given_to(self, people: Mapping[str, int]) -> dict[str, str]:
        """Return the name of each face whose name is sure, by face_id.

        Args:
            people: number of the person by face_id, once faces are grouped.
        """
        given = dict(self.alone)
        person_of = self._people_of_names(people)
        for name, faces in self.several:
            theirs = [f for f in faces if people.get(f) == person_of.get(name, 0)]
            if len(theirs) == 1:
                given[theirs[0]] = name
        return given

    def _people_of_names(self, people: Mapping[str, int]) -> dict[str, int]:
        """Return the person whom each name means, if that is clear."""
        alone: defaultdict[str, Counter[int]] = defaultdict(Counter)
        for face, name in self.alone.items():
            if face in people:
                alone[name][people[face]] += 1
        together: defaultdict[str, Counter[int]] = defaultdict(Counter)
        for name, faces in self.several:
            together[name].update({people[face] for face in faces if face in people})
        found = {}
        for name in {**alone, **together}:
            counts = (alone[name] or together[name]).most_common(2)
            (person, count), rest = counts[0] if counts else (0, 0), counts[1:]
            needed = max([1 if alone[name] else MIN_PHOTOS, *(CLEARLY * n for _, n in rest)])
            if count >= needed:
                found[name] = person
        return found


def _reduced(dataset: Dataset, photos: Mapping[str, object]) -> set[str]:
    """Return the photo_ids of those of some photos that have lost a face."""
    deletions = read_deletions(dataset.path)
    pictures = read_deleted_pictures(dataset.path, deletions)
    contents = set(pictures["content"].to_pylist())
    lost = set(deletions.withheld_per_content.field("values").to_pylist())
    if contents:
        lost |= {photo for photo in photos if content_digest(photo) in contents}
    return lost
