from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from beam_jobs.embed_photos import embed_photos
from faces.core.errors import WrongUsageError
from facetrove.evaluation.corruptions import CORRUPTIONS, FACE_SIDE, Corruption, FaceWindow
from facetrove.evaluation.robustness import evaluate_robustness
from indexer.build import build_index

BY_NAME = {corruption.name: corruption for corruption in CORRUPTIONS}
LANDMARKS = np.array([[45, 50], [75, 50], [60, 65], [48, 80], [72, 80]], np.float32)


@pytest.fixture
def window() -> FaceWindow:
    """A window with a grey gradient for an image, a box and landmarks."""
    image = np.tile(np.arange(60, 180, dtype=np.uint8)[:, None, None], (1, 120, 3))
    return FaceWindow(image, np.array([30, 30, 60, 60], np.float32), LANDMARKS)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.name)
def test_a_stronger_corruption_changes_more(window: FaceWindow, corruption: Corruption) -> None:
    """The strengths of a corruption are listed mildest first."""
    photo = window.with_image(
        cv2.resize(np.random.default_rng(1).integers(0, 255, (30, 30, 3), np.uint8), (120, 120))
    )
    changes = []
    for strength in corruption.strengths:
        corrupted = corruption.apply(photo, strength, rng())
        image = corrupted.image
        if image.shape != photo.image.shape:
            image = cv2.resize(image, (120, 120))
        changes.append(float(np.abs(image.astype(float) - photo.image).mean()))
    assert changes[-1] > 0
    if corruption.name != "rotation":
        assert changes == sorted(changes)


def test_light_is_scaled_and_clipped(window: FaceWindow) -> None:
    dark = BY_NAME["dark"].apply(window, 0.5, rng()).image
    assert dark[0, 0, 0] == 30 and dark[119, 0, 0] == 90
    bright = BY_NAME["bright"].apply(window, 2, rng()).image
    assert bright[0, 0, 0] == 120 and bright[119, 0, 0] == 255


def test_noise_has_its_standard_deviation(window: FaceWindow) -> None:
    grey = window.with_image(np.full((120, 120, 3), 128))
    noisy = BY_NAME["noise"].apply(grey, 10, rng()).image
    assert noisy.std() == pytest.approx(10, rel=0.05)
    again = BY_NAME["noise"].apply(grey, 10, rng()).image
    assert np.array_equal(noisy, again)  # from the same seed


def test_a_small_face_has_the_width_asked_for(window: FaceWindow) -> None:
    small = BY_NAME["small"].apply(window, 20, rng())
    assert small.box[2] == pytest.approx(20) and small.image.shape == (40, 40, 3)
    assert small.landmarks == pytest.approx(LANDMARKS / 3)
    assert BY_NAME["small"].apply(window, 200, rng()).image.shape == (120, 120, 3)


def test_a_rotation_moves_box_and_landmarks_with_the_pixels(window: FaceWindow) -> None:
    image = np.zeros((120, 120, 3), np.uint8)
    left_eye = LANDMARKS[0].astype(int)
    image[left_eye[1] - 2 : left_eye[1] + 3, left_eye[0] - 2 : left_eye[0] + 3] = 255
    for degrees in (30, 90, 180):
        turned = BY_NAME["rotation"].apply(window.with_image(image), degrees, rng())
        rows, columns = np.nonzero(turned.image[:, :, 0] > 128)
        assert turned.landmarks[0] == pytest.approx([columns.mean(), rows.mean()], abs=0.6)
        middle = turned.box[:2] + turned.box[2:] / 2
        assert middle == pytest.approx([60, 60], abs=1.1)


@pytest.mark.parametrize(
    ("name", "row", "clear"), [("eyes covered", 50, 80), ("mouth covered", 80, 50)]
)
def test_a_bar_covers_eyes_or_mouth(window: FaceWindow, name: str, row: int, clear: int) -> None:
    covered = BY_NAME[name].apply(window, 0.3, rng()).image
    assert (covered[row - 7 : row + 8, 31:89] == 0).all()
    assert (covered[clear] > 0).all() and (covered[row, :25] > 0).all()
    bar = (covered[:, 60, 0] == 0).sum()
    assert bar == pytest.approx(0.3 * 60, abs=2)


def test_a_large_face_is_shrunk_and_its_window_is_black_beyond_the_photo() -> None:
    photo = np.full((400, 600, 3), 200, np.uint8)
    box = np.array([-50, 10, 224, 300], np.float32)
    window = FaceWindow.cut(photo, box, LANDMARKS)
    assert min(window.box[2:]) == pytest.approx(FACE_SIDE, rel=0.01)
    assert window.image.shape[0] == window.image.shape[1]
    assert window.image[5, 5].tolist() == [0, 0, 0]
    middle = (window.box[:2] + window.box[2:] / 2).round().astype(int)
    assert window.image[middle[1], middle[0]].tolist() == [200, 200, 200]


@pytest.fixture(scope="module")
def people_index(tmp_path_factory: pytest.TempPathFactory, demo_photos: Path) -> tuple[Path, Path]:
    """The index and the photos of four people with 60 photos each: six portraits at many sizes.

    With two people enrolled, the others have more than the 100 faces that a threshold takes.
    """
    folder = tmp_path_factory.mktemp("robust")
    photos = folder / "photos"
    sources = {
        "president": ["obama2.jpg", "obama3.jpg", "obama_partial_face.jpg"],
        "astronaut": ["eileen_collins.png"],
        "admiral": ["grace_hopper.jpg"],
        "senator": ["biden.jpg"],
    }
    for person, names in sources.items():
        (photos / person).mkdir(parents=True)
        for name in names:
            with PIL.Image.open(demo_photos / name) as opened:
                photo = opened.convert("RGB")
            for number in range(60 // len(names)):
                small = photo.copy()
                small.thumbnail((360 + 3 * number, 360 + 3 * number))
                small.save(photos / person / f"{Path(name).stem}-{number:02d}.jpg", quality=90)
    embed_photos(photos, folder / "d.dataset")
    build_index(folder / "d.dataset", folder / "d.index")
    return folder / "d.index", photos


@pytest.mark.slow
@pytest.mark.lasting
def test_corruption_makes_searches_worse(people_index: tuple[Path, Path]) -> None:
    index, _ = people_index
    result = evaluate_robustness(
        index, people="folder", corruptions=["noise", "eyes covered"], probes=12
    )
    assert (result.num_mated, result.num_strangers, result.num_unreadable) == (12, 12, 0)
    assert result.gallery == (2, 2)
    clean, *corrupted = result.corrupted
    assert (clean.corruption, clean.strength) == ("none", None)
    assert clean.found == 1 and clean.rank_one.value == 1 and clean.false_positive.value <= 0.1
    assert [d.corruption for d in corrupted] == ["noise"] * 4 + ["eyes covered"] * 3
    noise = corrupted[:4]
    similarities = [d.similarity for d in (clean, *noise) if d.similarity is not None]
    assert similarities == sorted(similarities, reverse=True)
    assert noise[-1].false_negative.value > clean.false_negative.value
    assert corrupted[-1].similarity is None or corrupted[-1].similarity < similarities[0] - 0.1
    again = evaluate_robustness(index, people="folder", corruptions=["noise"], probes=12)
    assert again.corrupted[4] == noise[-1]  # from the same seed


@pytest.mark.lasting
@pytest.mark.slow
def test_photos_that_are_gone_are_left_out_and_counted(
    people_index: tuple[Path, Path], tmp_path: Path
) -> None:
    index, photos = people_index
    hidden = photos.with_name("hidden")
    photos.rename(hidden)
    try:
        with pytest.raises(WrongUsageError, match="are gone or have changed since"):
            evaluate_robustness(index, people="folder", corruptions=["dark"], probes=3)
        photos.mkdir()
        for person in hidden.iterdir():
            (photos / person.name).mkdir()
            for path in sorted(person.iterdir())[::2]:
                (photos / person.name / path.name).write_bytes(path.read_bytes())
        some = evaluate_robustness(index, people="folder", corruptions=["dark"], probes=12)
        assert 0 < some.num_unreadable < 24
        assert some.num_mated + some.num_strangers + some.num_unreadable == 24
    finally:
        shutil.rmtree(photos, ignore_errors=True)
        hidden.rename(photos)


def test_a_corruption_that_does_not_exist_is_refused(demo_index: Path) -> None:
    with pytest.raises(WrongUsageError, match="no corruption 'fire'; there are compression, blur"):
        evaluate_robustness(demo_index, people="folder", corruptions=["fire"])
