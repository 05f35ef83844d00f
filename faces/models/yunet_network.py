"""Running YuNet's network: on images of any sizes in batches, and on windows of one size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from faces.core.time_limit import require_time
from faces.models.engines import Network
from faces.models.weights import YUNET_FILE, NetworkSource, Rewrite, published, smooth_images
from faces.models.yunet_outputs import STRIDES, decode_cells, read_faces
from faces.photos.decoding import Image
from faces.photos.opencv import cv2

BATCH_PIXELS = 2 * 256 * 256
"""Maximum number of pixels in a batch of several images, since more do not fit into the CPU cache
(2.2 ms a photo of 256x256 in batches of eight, 1.9 ms in batches of two)."""


MAX_SMALL_PIXELS = 64 * 64
"""Maximum number of pixels of images that NumPy converts faster than OpenCV."""


def _sample_input() -> NDArray[np.float32]:
    return np.ascontiguousarray(smooth_images(2, 640, 640).transpose(0, 3, 1, 2))


YUNET = NetworkSource(
    "yunet",
    published(YUNET_FILE),
    YUNET_FILE.sha256,
    _sample_input,
    Rewrite(
        image_size=True,
        result="7a42e2ea7b69a107b143eb12dfef0d2311ed789937f98c2b6ab0e74663b10c00",
    ),
)
"""The published YuNet, whose image size is made dynamic."""


def find_in(
    network: Network, images: Sequence[Image], min_scores: Sequence[float]
) -> list[NDArray[np.float32]]:
    """Run the network once on each image.

    Args:
        network: the opened network.
        images: images of any sizes.
        min_scores: minimum score of a face, for each image.

    Returns:
        The faces of each image, (n, 15) as `decode_outputs` gives them, in pixels of the image,
        highest score first.
    """
    found = [np.empty((0, 15), dtype=np.float32)] * len(images)
    for rows in _same_shape_batches(images):
        require_time()
        batch = _to_network_input([images[row] for row in rows])
        outputs = network.run(batch)
        for batch_row, row in enumerate(rows):
            found[row] = read_faces(outputs, batch_row, batch.shape[3], min_scores[row])
    return found


def cells_of(network: Network, windows: Sequence[Image]) -> NDArray[np.float32]:
    """Run the network on square windows of one size, and return what every grid cell shows.

    Args:
        network: the opened network.
        windows: (side, side, 3) uint8 RGB windows, whose side is a multiple of the coarsest stride.

    Returns:
        (n, cells, 5) float32: centre (x, y), width and height of the cell's box in pixels of the
        window, and its score.
    """
    side = windows[0].shape[0]
    size = max(1, BATCH_PIXELS // (side * side))
    cells = []
    for start, end in _few_sizes(len(windows), size):
        require_time()
        outputs = network.run(_to_network_input(windows[start:end]))
        cells.append(decode_cells(outputs, side))
    return np.concatenate(cells)


def _padded_size(image: Image) -> tuple[int, int]:
    """Return an image's height and width, rounded up to multiples of the coarsest stride."""
    height, width = image.shape[:2]
    return height + -height % STRIDES[-1], width + -width % STRIDES[-1]


def _to_network_input(images: Sequence[Image]) -> NDArray[np.float32]:
    """Make a network input of images that have one padded size.

    OpenCV's own `blobFromImages` takes up to ten times as long.

    Returns:
        (n, 3, height, width) float32 BGR, 0 to 255, padded with black at the right and bottom.
    """
    height, width = _padded_size(images[0])
    if height * width <= MAX_SMALL_PIXELS and images[0].shape[:2] == (height, width):
        channels_first = np.stack(images)[..., ::-1].transpose(0, 3, 1, 2)
        return np.ascontiguousarray(channels_first, dtype=np.float32)
    batch = np.zeros((len(images), 3, height, width), dtype=np.float32)
    for padded, image in zip(batch, images, strict=True):
        for channel, plane in zip((2, 1, 0), cv2.split(image), strict=True):
            padded[channel, : image.shape[0], : image.shape[1]] = plane
    return batch


def _same_shape_batches(images: Sequence[Image]) -> Iterator[list[int]]:
    """Group images of one padded size into batches; yields the positions in `images` of each."""
    by_size = defaultdict(list)
    for row, image in enumerate(images):
        by_size[_padded_size(image)].append(row)
    for (height, width), rows in by_size.items():
        size = max(1, BATCH_PIXELS // (height * width))
        yield from (rows[start:end] for start, end in _few_sizes(len(rows), size))


def _few_sizes(count: int, max_size: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of batches, whose sizes are powers of two up to a maximum.

    An engine plans its memory anew for each shape that it has not seen before.
    """
    start, size = 0, 1 << (max_size.bit_length() - 1)
    while start < count:
        while size > count - start:
            size //= 2
        yield start, start + size
        start += size
