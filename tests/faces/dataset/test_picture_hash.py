"""Hashes of pictures: what they keep, and what they recognise."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest

from faces.dataset.picture_hash import (
    HASH_BYTES,
    MIN_BITS,
    NUM_BITS,
    SAME_PICTURE,
    WINDOWS,
    box_in_window,
    compare_pictures,
    hash_pictures,
    num_compared,
    packed_hashes,
    same_pictures,
    unpack_hashes,
)
from faces.photos.thumbnails import thumbnail

BOX = np.array([[0.4, 0.3, 0.25, 0.3]], np.float32)
NO_BOXES = np.empty((0, 4), np.float32)


def picture(seed: int = 0, side: int = 400) -> np.ndarray:
    """A picture of large soft patches."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (20, 20, 3))
    patches = np.kron(coarse, np.ones((side // 20, side // 20, 1)))
    return patches.astype(np.uint8)


@pytest.mark.parametrize("side", [200, 400, 1200])
def test_not_a_bit_of_a_hash_depends_on_the_face(side: int) -> None:
    image = picture(side=side)
    other = image.copy()
    x, y, width, height = (BOX[0] * side).astype(int)
    other[y : y + height, x : x + width] = np.random.default_rng(1).integers(0, 256, 3)
    images = [thumbnail(image), thumbnail(other)]
    assert not np.array_equal(*images)
    first, second = hash_pictures(images, [BOX, BOX])
    assert first == second
    assert hash_pictures(images, [NO_BOXES] * 2)[0] != hash_pictures(images, [NO_BOXES] * 2)[1]


def test_a_hash_compares_nothing_where_a_face_fills_the_photo() -> None:
    (stored,) = hash_pictures([thumbnail(picture())], [np.array([[0, 0, 1, 1]], np.float32)])
    assert len(stored) == HASH_BYTES
    assert num_compared(unpack_hashes([stored])).tolist() == [0]


def test_hashes_are_stored_and_read_back() -> None:
    (stored,) = hash_pictures([thumbnail(picture())], [NO_BOXES])
    (bits,) = unpack_hashes([stored])
    assert bits.shape == (NUM_BITS,)
    assert set(np.unique(bits).tolist()) == {-1.0, 0.0, 1.0}


def test_a_picture_agrees_with_its_own_hash_and_not_with_another() -> None:
    images = [thumbnail(picture(seed)) for seed in range(20)]
    hashes = unpack_hashes(hash_pictures(images, [NO_BOXES] * 20))
    agreement = compare_pictures(np.stack(images), hashes).agreement
    assert agreement.diagonal() == pytest.approx(1, abs=1e-4)
    assert agreement[~np.eye(20, dtype=bool)].max() < 0.5


def test_a_picture_is_the_same_in_every_size_and_after_compression() -> None:
    image = PIL.Image.fromarray(picture())
    copies = [np.asarray(image.resize((side, side))) for side in (80, 250, 900)]
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=50)
    copies.append(np.asarray(PIL.Image.open(stream)))
    boxes = [BOX, NO_BOXES, BOX, BOX]  # the face of one copy was not found
    others = [thumbnail(picture(seed)) for seed in range(1, 30)]
    own = packed_hashes(hash_pictures([thumbnail(picture())], [BOX]))
    same = packed_hashes(hash_pictures([*map(thumbnail, copies)], boxes))
    different = packed_hashes(hash_pictures(others, [BOX] * len(others)))
    assert same_pictures(own, same).tolist() == [[True] * 4]
    assert not same_pictures(own, different).any()


def test_hashes_that_have_little_in_common_do_not_make_a_picture_the_same() -> None:
    boxes = [NO_BOXES, np.array([[0, 0, 1, 0.8]], np.float32)]
    stored = hash_pictures([thumbnail(picture())] * 2, boxes)
    assert 0 < num_compared(unpack_hashes(stored))[1] < MIN_BITS
    hashes = packed_hashes(stored)
    assert same_pictures(hashes, hashes).tolist() == [[True, False], [False, False]]


def test_counted_bits_are_the_agreement_of_the_hashes() -> None:
    images = [thumbnail(picture(seed % 7, 200 + 40 * seed)) for seed in range(20)]
    boxes = [BOX if seed % 2 else NO_BOXES for seed in range(20)]
    stored = hash_pictures(images, boxes)
    bits, packed = unpack_hashes(stored), packed_hashes(stored)
    compared, agreement = np.abs(bits) @ np.abs(bits).T, bits @ bits.T
    expected = (compared >= MIN_BITS) & (agreement >= SAME_PICTURE * compared)
    assert same_pictures(packed, packed).tolist() == expected.tolist()
    assert 20 < expected.sum() < 400


def test_a_cropped_copy_agrees_in_the_whole_window_and_says_where_the_face_is() -> None:
    image = picture()
    hashes = unpack_hashes(hash_pictures([thumbnail(image)], [BOX]))
    compared = compare_pictures(thumbnail(image[20:-20, 20:-20])[None], hashes)
    assert compared.agreement[0, 0] > 0.95
    window = int(compared.window[0, 0])
    assert WINDOWS[window] == (0, 0, 1, 1)
    x, y, width, height = BOX[0]
    expected = [(x - 0.05) / 0.9, (y - 0.05) / 0.9, width / 0.9, height / 0.9]
    assert box_in_window(BOX[0], window) == pytest.approx(expected)
