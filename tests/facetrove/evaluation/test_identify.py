from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from faces.core.errors import WrongUsageError
from facetrove.evaluation.gallery import Gallery, search_all
from facetrove.evaluation.identify import evaluate_identification
from facetrove.evaluation.labels import choose_faces, folder_of, labelled_faces
from facetrove.evaluation.protocol import Protocol, split_faces
from indexer.build import build_index
from indexer.delete import delete_faces
from indexer.manifest import read_current
from indexer.snapshot import Snapshot
from tests.support.labelled_faces import labelled_index, people_around, write_labelled


def test_a_split_enrols_some_photos_of_each_person_and_searches_for_the_others() -> None:
    people = np.array([0, 0, 0, 1, 2, 2, 3, 3, 3, 3])
    for num_enrolled in (1, 2, 5):
        enrolled, probes = split_faces(people, num_enrolled, np.random.default_rng(0))
        assert sorted([*enrolled, *probes]) == list(range(10))
        counts = np.bincount(people)
        assert np.bincount(people[enrolled]).tolist() == np.minimum(counts, num_enrolled).tolist()
    one, _ = split_faces(people, 1, np.random.default_rng(1))
    other, _ = split_faces(people, 1, np.random.default_rng(2))
    assert not np.array_equal(one, other)


def test_people_far_apart_are_all_found_and_strangers_are_not(tmp_path: Path) -> None:
    vectors, people = people_around(80, 4, spread=0.2)
    result = evaluate_identification(labelled_index(tmp_path, vectors, people))
    assert (result.num_people, result.num_faces, result.num_unlabelled) == (80, 320, 0)
    assert result.closed_gallery == (80, 80) and result.open_gallery == (40, 40)
    assert result.num_closed == 10 * 80 * 3
    assert (result.num_mated, result.num_non_mated) == (10 * 40 * 3, 10 * 40 * 4)
    assert result.index is None  # it compares every face
    assert result.model.rank_one.value == result.model.match_rates[0] == 1
    assert result.model.rank_one.interval.low == pytest.approx(1 - 3 / 80)
    rate = result.model.false_negative[0.1]
    assert rate is not None and rate.value == 0
    assert result.model.false_negative[3e-3] is None  # it takes 1,000 strangers, there are 80
    assert result.mated.min() > result.non_mated.max()


def test_noise_scores_chance(tmp_path: Path) -> None:
    vectors, people = people_around(50, 4, spread=1000.0)
    result = evaluate_identification(labelled_index(tmp_path, vectors, people))
    assert result.model.rank_one.value == pytest.approx(1 / 50, abs=0.012)
    assert result.model.match_rates[19] == pytest.approx(20 / 50, abs=0.05)
    rate = result.model.false_negative[0.1]
    # With noise a person is like any other: at the threshold at which one search in ten returns one
    # of the 25 enrolled people, one in 250 returns a given person.
    assert rate is not None and rate.value > 0.98


def test_ranks_count_people_not_photos(tmp_path: Path) -> None:
    """Ann's probe is nearest to two photos of Bob, then to one of Ann: rank 2."""
    degrees = np.radians([0, 12, 10, 9, 50, 80])
    vectors = np.stack([np.cos(degrees), np.sin(degrees)], axis=1)
    people = ["ann", "ann", "bob", "bob", "cy", "cy"]
    index = labelled_index(tmp_path, vectors, people)
    protocol = Protocol(enrol=2, splits=1)
    with pytest.raises(WrongUsageError, match="fewer than two have more than 2 photos"):
        evaluate_identification(index, protocol=protocol)
    version = Snapshot.open(index, "cpu")
    faces = labelled_faces(index, version)
    numbers = [int(Path(uri).stem) for uri in faces.column("uri").to_pylist()]
    row = np.argsort(numbers)  # position of each photo's face among the labelled faces
    gallery = Gallery(version, faces)
    found = search_all(gallery, row[[1, 2, 3, 4]], row[[0, 5]])
    assert found.ranks.tolist() == [2, 1]
    assert found.mated.tolist() == [True, True]
    assert found.right[0] == pytest.approx(np.cos(np.radians(12)))
    assert found.wrong[0] == pytest.approx(np.cos(np.radians(9)))
    assert numbers[found.wrong_faces[0]] == 3
    stranger = search_all(gallery, row[[2, 3]], row[[0]])
    assert stranger.ranks.tolist() == [0] and not stranger.mated[0]
    assert stranger.right[0] == -np.inf


@pytest.mark.lasting
@pytest.mark.slow
def test_misses_of_the_index_are_separated_from_misses_of_the_model(tmp_path: Path) -> None:
    vectors, people = people_around(3000, 2, spread=0.6)
    index = labelled_index(tmp_path, vectors, people, recipe="IVF64,PQ8x4fs")
    result = evaluate_identification(index, protocol=Protocol(splits=3))
    assert result.index is not None
    assert result.index.rank_one.value < result.model.rank_one.value - 0.005
    exact = tmp_path / "exact.index"
    build_index(tmp_path / "d.dataset", exact, recipe="exact")
    same = evaluate_identification(exact, protocol=Protocol(splits=3))
    assert same.index is None
    assert same.model.rank_one == result.model.rank_one
    assert same.model.false_negative == result.model.false_negative


def test_several_segments_with_deleted_faces_are_one_gallery(tmp_path: Path) -> None:
    vectors, people = people_around(60, 3, spread=0.4)
    whole = labelled_index(tmp_path / "whole", vectors, people)
    parts = tmp_path / "parts"
    index = labelled_index(parts, vectors[:120], people[:120])
    extra, _ = people_around(40, 1, spread=0.4, seed=8)
    uris = [f"/photos/{person}/{n + 120:06d}.jpg" for n, person in enumerate(people[120:])]
    write_labelled(parts / "d.dataset", vectors[120:], people[120:], uris=uris)
    gone = [f"/gone/{n}.jpg" for n in range(40)]
    write_labelled(parts / "d.dataset", extra, ["somebody"] * 40, uris=gone)
    build_index(parts / "d.dataset", index)
    delete_faces(parts / "d.dataset", [index], "person = 'somebody'")
    manifest = read_current(index)
    assert manifest.deletions is not None and manifest.num_faces == 180
    expected, found = (evaluate_identification(path) for path in (whole, index))
    assert found.num_people == 60 and found.num_faces == 180
    assert found.model.rank_one.value == pytest.approx(expected.model.rank_one.value, abs=0.02)


def test_the_order_of_faces_in_an_index_does_not_matter(tmp_path: Path) -> None:
    vectors, people = people_around(40, 3, spread=0.9)
    uris = [f"/photos/{n}.jpg" for n in range(120)]
    found = []
    for number, order in enumerate((np.arange(120), np.random.default_rng(0).permutation(120))):
        dataset, index = tmp_path / f"{number}.dataset", tmp_path / f"{number}.index"
        names = [people[n] for n in order]
        write_labelled(dataset, vectors[order], names, uris=[uris[n] for n in order])
        build_index(dataset, index)
        found.append(evaluate_identification(index))
    assert found[0].model.rank_one == found[1].model.rank_one
    assert found[0].model.false_negative == found[1].model.false_negative


def test_more_enrolled_photos_find_more(tmp_path: Path) -> None:
    vectors, people = people_around(150, 6, spread=0.9)
    index = labelled_index(tmp_path, vectors, people)
    rates = [
        evaluate_identification(
            index, protocol=Protocol(enrol=count, splits=3)
        ).model.rank_one.value
        for count in (1, 4)
    ]
    assert rates[1] > rates[0] + 0.05


def test_error_rates_are_broken_down_by_group_and_quality(tmp_path: Path) -> None:
    """The photos of one camera are of low quality, and their embeddings are noise."""
    vectors, people = people_around(100, 4, spread=0.2)
    poor = np.arange(len(people)) % 4 == 3
    noise, _ = people_around(100, 4, spread=1000.0, seed=1)
    vectors[poor] = noise[poor]
    index = labelled_index(
        tmp_path,
        vectors,
        people,
        quality=np.where(poor, 0.1, 0.9),
        cameras=["phone" if one else "studio" for one in poor],
    )
    result = evaluate_identification(index, by=["camera"])
    groups = {group.group: group for group in result.groups["camera"]}
    phone, studio = groups["phone"].false_negative, groups["studio"].false_negative
    assert phone and studio
    assert phone.value > 0.9
    assert studio.value < 0.4  # they are missed where the enrolled photo is of low quality
    names = ["score", "face size", "sharpness", "brightness", "embedding norm", "frontality"]
    assert [quality.name for quality in result.qualities] == names
    for quality in result.qualities:
        assert quality.tenths[0] > 0.9
        assert quality.false_negative[-1].value < quality.false_negative[0].value - 0.1
    with pytest.raises(WrongUsageError, match="no column 'lens' to group by"):
        evaluate_identification(index, by=["lens"])
    with pytest.raises(WrongUsageError, match="'person' has more than 50 values"):
        evaluate_identification(index, by=["person"])
    assert result.grouped_at == 0.1  # an FPIR of 0.01 takes 300 strangers


def test_a_quality_measure_that_is_equal_for_all_faces_is_left_out(tmp_path: Path) -> None:
    """Faces that were imported from another program all have one score, for example."""
    vectors, people = people_around(100, 2, spread=0.2)
    quality = 0.5 + 1e-7 * (np.arange(len(people)) % 2)
    index = labelled_index(tmp_path, vectors, people, quality=quality)
    result = evaluate_identification(index)
    assert result.grouped_at is not None
    assert result.qualities == []


def test_the_json_keys_of_a_result_are_stable(tmp_path: Path) -> None:
    vectors, people = people_around(20, 3, spread=0.2)
    index = labelled_index(tmp_path, vectors, people)
    document = evaluate_identification(index, protocol=Protocol(splits=2)).to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["protocol"] == {
        "num_enrolled": 1,
        "num_splits": 2,
        "stranger_share": 0.5,
        "seed": 0,
    }


def test_labels_are_a_column_or_the_names_of_folders(tmp_path: Path) -> None:
    vectors, people = people_around(20, 3, spread=0.2)
    index = labelled_index(tmp_path, vectors, people)
    by_column = evaluate_identification(index)
    by_folder = evaluate_identification(index, people="folder")
    assert by_folder.model.rank_one == by_column.model.rank_one
    assert (
        evaluate_identification(index, people="folder", where="person < 'p0010'").num_people == 10
    )
    with pytest.raises(WrongUsageError, match=r"no column 'who'.*camera.*--people folder"):
        evaluate_identification(index, people="who")


def test_a_gallery_without_probes_is_refused(tmp_path: Path) -> None:
    vectors, _ = people_around(10, 1, spread=0.2)
    index = labelled_index(tmp_path, vectors, [f"p{n}" for n in range(10)])
    with pytest.raises(WrongUsageError, match="so there are no probes"):
        evaluate_identification(index)
    with pytest.raises(WrongUsageError, match=r"enrol is 0.*expected enrol and splits"):
        Protocol(enrol=0)
    vectors, people = people_around(3, 3, spread=0.2)
    few = labelled_index(tmp_path / "few", vectors, people)
    for share in (0.05, 0.95):
        with pytest.raises(WrongUsageError, match="no enrolled face, no mated probe or no non-"):
            evaluate_identification(few, protocol=Protocol(strangers=share))


def test_the_folder_of_a_photo_is_found_in_every_kind_of_uri() -> None:
    for uri, folder in (
        ("/photos/Ann Lee/1.jpg", "Ann Lee"),
        ("file:///p/Andr%E9/1.jpg", "Andr\\xe9"),  # a name that is no valid UTF-8
        ("tar://box/Ann/1.jpg::/archive.tar", "Ann"),
        ("zip://1.jpg::/archive.zip", None),
        ("https://host/Ann/1.jpg?signature=a/b", "Ann"),
        ("https://host/1.jpg", None),
        ("s3://bucket/Ann/1.jpg", "Ann"),
        ("/1.jpg", None),
    ):
        assert folder_of(uri) == folder, uri


def test_the_largest_the_central_or_the_only_face_of_a_photo_is_labelled() -> None:
    boxes = [[0, 0, 30, 30], [45, 45, 10, 10], [45, 45, 10, 10], [0, 0, 9, 9]]
    faces = pa.table(
        {
            "photo_id": ["a", "a", "b", "c"],
            "box": pa.array(boxes, pa.list_(pa.float32(), 4)),
        }
    )
    photos = pa.table({"photo_id": ["c", "b", "a"], "width": [100] * 3, "height": [100] * 3})
    assert choose_faces(faces, "largest").tolist() == [0, 2, 3]
    assert choose_faces(faces, "only").tolist() == [2, 3]
    assert choose_faces(faces, "central", photos).tolist() == [1, 2]
    assert choose_faces(faces.slice(0, 0), "largest").tolist() == []


def test_the_central_face_is_found_by_the_photo_sizes_in_the_index(tmp_path: Path) -> None:
    vectors, people = people_around(20, 3, spread=0.2)
    write_labelled(tmp_path / "d.dataset", vectors, people, off_centre=[0, 1])
    build_index(tmp_path / "d.dataset", tmp_path / "d.index")
    result = evaluate_identification(tmp_path / "d.index", face="central")
    assert (result.num_faces, result.num_unlabelled) == (58, 2)


def test_the_worst_errors_are_returned_when_asked_for(tmp_path: Path) -> None:
    vectors, people = people_around(60, 3, spread=0.2)
    people = [person if n != 4 else "somebody else" for n, person in enumerate(people)]
    index = labelled_index(tmp_path, vectors, people)
    assert evaluate_identification(index).worst == []
    (worst, *_) = evaluate_identification(index, examples=3).worst
    # Photo 4 shows the person of photos 3 and 5 under another name: a false positive.
    numbers = {int(Path(uri).stem) for uri in (worst.uri, worst.other_uri)}
    assert 4 in numbers and numbers <= {3, 4, 5} and not worst.mated


@pytest.mark.slow
def test_lfw_s_people_are_identified_by_one_enrolled_photo(lfw_index: Path) -> None:
    result = evaluate_identification(
        lfw_index, people="folder", face="central", protocol=Protocol(splits=5)
    )
    assert result.num_people == 2181 and result.closed_gallery == (2181, 2181)
    assert result.model.rank_one.value >= 0.98
    rate = result.model.false_negative[1e-2]
    assert rate is not None and 0.02 < rate.value < 0.06
