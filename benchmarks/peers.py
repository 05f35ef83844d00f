"""The programs that facetrove is compared with, run as their users run them."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from benchmarks.measure import CORES
from faces.core.machine import cache_dir
from faces.models.downloads import fetch
from faces.models.preparation import prepare
from faces.models.sface import SFACE
from faces.models.weights import YUNET_FILE

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels."""

FACE_RECOGNITION_SIDE = 1600
"""Maximum side in pixels to which face_recognition's command shrinks photos. Its library does not
shrink them."""


def face_recognition_command(photos: Path, work_dir: Path) -> list[str]:
    """Return the command that embeds a folder with face_recognition, one process per core."""
    known_people = work_dir / "nobody-known"  # its command expects photos of known people
    known_people.mkdir(exist_ok=True)
    program = Path(sys.executable).with_name("face_recognition")
    return [str(program), "--cpus", str(CORES), str(known_people), str(photos)]


def deepface_command(photos: Path) -> list[str]:
    """Return the command that embeds a folder with deepface, in `deepface_environment`."""
    return [sys.executable, "-m", "benchmarks.deepface_represent", str(photos)]


def deepface_environment(work_dir: Path) -> dict[str, str]:
    """Put facetrove's networks into `work_dir`; return variables by which deepface loads them."""
    weights_dir = work_dir / ".deepface" / "weights"
    if not weights_dir.is_dir():
        weights_dir.mkdir(parents=True)
        (yunet,) = fetch([YUNET_FILE], cache_dir() / "weights")
        (weights_dir / "face_detection_yunet_2023mar.onnx").symlink_to(yunet)
        # deepface cannot run SFace's published file, which lists its weights as inputs.
        (weights_dir / "face_recognition_sface_2021dec.onnx").symlink_to(prepare(SFACE.source).path)
    return {"DEEPFACE_HOME": str(work_dir)}


def deepface_boxes(photo: Path, *, align: bool) -> list[Box]:
    """Return the boxes of the faces that deepface detects with YuNet.

    The variables of `deepface_environment` must be set.

    Args:
        photo: the photo's file.
        align: whether to align faces, which is deepface's default. deepface then adds a black
            border of half the photo's size before it shrinks the photo to 640 pixels, so that faces
            become half as large.
    """
    from deepface import DeepFace
    from deepface.modules.exceptions import FaceNotDetected

    try:
        faces = DeepFace.extract_faces(str(photo), detector_backend="yunet", align=align)
    except FaceNotDetected:
        return []
    areas = [face["facial_area"] for face in faces]
    return [(area["x"], area["y"], area["w"], area["h"]) for area in areas]


def face_recognition_boxes(photo: Path, *, max_side: int | None = None) -> list[Box]:
    """Return the boxes of the faces that face_recognition detects with HOG.

    As by default, face_recognition enlarges the photo twofold first.

    Args:
        photo: the photo's file.
        max_side: maximum side in pixels to which the photo is shrunk before, as face_recognition's
            command does; by default it is not shrunk.
    """
    import face_recognition
    import numpy as np
    import PIL.Image

    with PIL.Image.open(photo) as opened:
        image = opened.convert("RGB")
    scale = max(1.0, max(image.size) / max_side) if max_side else 1.0
    if max_side:
        image.thumbnail((max_side, max_side), PIL.Image.Resampling.LANCZOS)
    return [
        (left * scale, top * scale, (right - left) * scale, (bottom - top) * scale)
        for top, right, bottom, left in face_recognition.face_locations(np.asarray(image))
    ]


def require_peers() -> None:
    """End the program with advice unless deepface and face_recognition are installed."""
    peers = ("deepface", "face_recognition")
    if missing := [name for name in peers if find_spec(name) is None]:
        sys.exit(f"{' and '.join(missing)} not installed; run `make bench-setup` first")
