"""The programs we compare with, run as their users run them."""

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
"""Pixels to which face_recognition's command shrinks larger photos; its library does not."""


def face_recognition_command(photos: Path, work_dir: Path) -> list[str]:
    """Embed a flat folder of photos with face_recognition (HOG detector), a process per core."""
    nobody = work_dir / "nobody-known"
    nobody.mkdir(exist_ok=True)
    program = Path(sys.executable).with_name("face_recognition")
    return [str(program), "--cpus", str(CORES), str(nobody), str(photos)]


def deepface_command(photos: Path) -> list[str]:
    """Embed a flat folder of photos with deepface; set `deepface_environment` for it."""
    return [sys.executable, "-m", "benchmarks.deepface_represent", str(photos)]


def deepface_environment(work_dir: Path) -> dict[str, str]:
    """Variables with which deepface finds, in `work_dir`, the networks that we run ourselves."""
    weights_dir = work_dir / ".deepface" / "weights"
    if not weights_dir.is_dir():
        weights_dir.mkdir(parents=True)
        (yunet,) = fetch([YUNET_FILE], cache_dir() / "weights")
        (weights_dir / "face_detection_yunet_2023mar.onnx").symlink_to(yunet)
        # deepface cannot run the published file of SFace, which lists its weights as inputs.
        (weights_dir / "face_recognition_sface_2021dec.onnx").symlink_to(prepare(SFACE.source).path)
    return {"DEEPFACE_HOME": str(work_dir)}


def deepface_boxes(photo: Path, *, align: bool) -> list[Box]:
    """The faces that deepface finds with YuNet; `deepface_environment` must be set by now.

    Args:
        photo: file to look at.
        align: deepface's default; it first surrounds the photo with a black border of half its
            size, so that what is then shrunk to 640 pixels is twice as large.
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
    """The faces that face_recognition finds with HOG, enlarging twofold first, as by default.

    Args:
        photo: file to look at.
        max_side: shrink it to so many pixels, as face_recognition's command does.
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
    """Exit with advice unless the peers are installed."""
    peers = ("deepface", "face_recognition")
    if missing := [name for name in peers if find_spec(name) is None]:
        sys.exit(f"{' and '.join(missing)} not installed; run `make bench-setup` first")
