"""Tables of deepface's models and their weights files, and the lazy loading of deepface itself.

Neither the tables nor weights that are downloaded already need deepface to be installed. `library`
loads deepface when a model needs it.
"""

from __future__ import annotations

import hashlib
import logging
import os
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from faces.core.environment import folders_of_libraries, loading_libraries
from faces.core.errors import ModelUnavailableError, first_line
from faces.core.hashing import sha256_of
from faces.core.locks import file_lock
from faces.core.machine import cache_dir
from faces.models.choice import (
    DEEPFACE,
    DEEPFACE_ALIGNMENT,
    FACE_RECOGNITION_ALIGNMENT,
    FACENET_ALIGNMENT,
    FIVE_POINT_ALIGNMENT,
    OPENFACE_ALIGNMENT,
)


@dataclass(frozen=True)
class Recogniser:
    """A recognition network of deepface.

    Attributes:
        file: path of the network's weights under deepface's weights folder.
        width, height: size of the network's input in pixels.
        dimension: number of dimensions of an embedding.
        alignment: name of the default alignment, as in `faces.models.choice`: the one with which
            the accuracy in `faces.models.catalog` was measured.
        settings: names and values of the `EmbedderSpec` fields that describe the input. The default
            is that of the graphs that deepface exported: BGR, 0 to 1, channels last.
    """

    file: str
    width: int
    height: int
    dimension: int
    alignment: str = DEEPFACE_ALIGNMENT
    settings: tuple[tuple[str, Any], ...] = (("bgr", True), ("channels_last", True), ("high", 1.0))


SHAPE_PREDICTOR = "shape_predictor_5_face_landmarks.dat"
"""Weights file of dlib's predictor that finds five landmarks in a box."""

RECOGNISERS = {
    "ArcFace": Recogniser("arcface_weights.onnx", 112, 112, 512, alignment=FIVE_POINT_ALIGNMENT),
    "Buffalo_L": Recogniser(
        "buffalo_l/webface_r50.onnx",
        112,
        112,
        512,
        alignment=FIVE_POINT_ALIGNMENT,
        settings=(("low", -1.0), ("high", 1.0)),
    ),
    "DeepFace": Recogniser("VGGFace2_DeepFace_weights_val-0.9034.onnx", 152, 152, 4096),
    "DeepID": Recogniser("deepid_weights.onnx", 47, 55, 160),
    "Dlib": Recogniser(
        "dlib_face_recognition_resnet_model_v1.dat",
        150,
        150,
        128,
        alignment=FACE_RECOGNITION_ALIGNMENT,
    ),
    "Facenet": Recogniser("facenet_weights.onnx", 160, 160, 128, alignment=FACENET_ALIGNMENT),
    "Facenet512": Recogniser("facenet512_weights.onnx", 160, 160, 512, alignment=FACENET_ALIGNMENT),
    "GhostFaceNet": Recogniser(
        "ghostfacenet_v1.onnx", 112, 112, 512, alignment=FIVE_POINT_ALIGNMENT
    ),
    "OpenFace": Recogniser("openface_weights.onnx", 96, 96, 128, alignment=OPENFACE_ALIGNMENT),
    "SFace": Recogniser(
        "face_recognition_sface_2021dec.onnx",
        112,
        112,
        128,
        alignment=FIVE_POINT_ALIGNMENT,
        settings=(("whole_pixels", True),),
    ),
    "VGG-Face": Recogniser("vgg_face_weights.onnx", 224, 224, 4096),
}
"""deepface's recognition networks by their names in deepface.

Sources of the alignments: ArcFace, Buffalo_L and GhostFaceNet are evaluated on the crops of
InsightFace (its `lfw.bin`), SFace on those of OpenCV's FaceRecognizerSF: five landmarks on
ArcFace's template; Dlib on `dlib.get_face_chip` with a padding of 0.25 (dlib's
`dnn_face_recognition_ex.cpp`); Facenet and Facenet512 on boxes of MTCNN with a margin
(davidsandberg/facenet, wiki "Validate on LFW"); OpenFace on landmarks of dlib
(cmusatyalab/openface, "Models and accuracies"). Of the weights of DeepFace (swghosh/DeepFace,
trained on unaligned crops of VGGFace2 with black margins), DeepID (Ruoyiran/DeepID, trained on
YouTube Faces) and VGG-Face (its descriptor alone), no accuracy on LFW with an alignment that can be
repeated is published; they get the crops of deepface, which is where these weights come from."""


@dataclass(frozen=True)
class DetectorParts:
    """The weights files and packages of a detector of deepface.

    Attributes:
        module: name of the Python module that the detector imports.
        files: paths of the weights files under deepface's weights folder. Where several are listed,
            one suffices.
        packages: names of the PyPI packages whose version the detections depend on. Where several
            are listed, one suffices.
    """

    module: str
    files: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


DETECTORS = {
    "opencv": DetectorParts("cv2", ("haarcascade_frontalface_default.xml",)),
    "ssd": DetectorParts("cv2", ("res10_300x300_ssd_iter_140000.caffemodel", "deploy.prototxt")),
    "dlib": DetectorParts("dlib", (SHAPE_PREDICTOR,), ("dlib-bin", "dlib")),
    "mtcnn": DetectorParts("mtcnn", packages=("mtcnn",)),
    "fastmtcnn": DetectorParts("facenet_pytorch", packages=("facenet-pytorch",)),
    "retinaface": DetectorParts(
        "retinaface", ("retinaface.onnx", "retinaface.h5", "retinaface.pth"), ("retina-face",)
    ),
    "mediapipe": DetectorParts("mediapipe", packages=("mediapipe",)),
    "yunet": DetectorParts("cv2", ("face_detection_yunet_2023mar.onnx",)),
    "centerface": DetectorParts("cv2", ("centerface.onnx",)),
    **{
        f"yolov{version}{size}": DetectorParts("ultralytics", (f"yolov{version}{size}-face.pt",))
        for version, sizes in (("8", "nml"), ("11", "nsml"), ("12", "nsml"))
        for size in sizes
    },
}
"""deepface's detectors by their names in deepface."""


def weights_folder() -> Path:
    """Return deepface's weights folder, in DEEPFACE_HOME or in the user's home folder."""
    return Path(os.environ.get("DEEPFACE_HOME") or Path.home()) / ".deepface" / "weights"


def detector_is_here(name: str) -> bool:
    """Tell whether a detector's module is installed and one of its weights files downloaded."""
    return find_spec(DETECTORS[name].module) is not None and not missing_files(DEEPFACE + name)


def missing_files(name: str, alignment: str | None = None) -> tuple[str, ...]:
    """Return the weights files that have to be downloaded before a model can be used.

    Args:
        name: name of a detector or an embedder; one that is not deepface's has none.
        alignment: name of the alignment of an embedder's crops; None: its default.

    Returns:
        Paths under deepface's weights folder.
    """
    short_name = name.removeprefix(DEEPFACE)
    if short_name == name:
        return ()
    if short_name in DETECTORS:
        files = DETECTORS[short_name].files
        return () if any(_is_file(file) for file in files) else files
    if short_name not in RECOGNISERS:
        return ()
    needed = [RECOGNISERS[short_name].file]
    if (alignment or RECOGNISERS[short_name].alignment) == FACE_RECOGNITION_ALIGNMENT:
        needed.append(SHAPE_PREDICTOR)
    return tuple(file for file in needed if not _is_file(file))


def _is_file(file: str) -> bool:
    """Tell whether a weights file was downloaded, or is one of those that OpenCV 4 contains."""
    opencv = find_spec("cv2")
    folders = [weights_folder()]
    if opencv is not None and opencv.origin is not None:
        folders.append(Path(opencv.origin).parent / "data")
    return any((folder / file).is_file() for folder in folders)


def detector_digest(name: str) -> str:
    """Compute the sha256, hexadecimal, of a detector's weights digests and package versions.

    Weights files and packages that are not on this machine are left out.

    Args:
        name: a key of `DETECTORS`.

    Raises:
        WrongUsageError: a network keeps something in another file, which the digest does not cover.
    """
    parts = DETECTORS[name]
    paths = {file: weights_folder() / file for file in parts.files}
    paths = {file: path for file, path in paths.items() if path.is_file()}
    for path in paths.values():
        if path.suffix == ".onnx":
            from faces.models.onnx_graph import load_whole

            load_whole(path)
    lines = [f"{file} {sha256_of(path)}" for file, path in paths.items()]
    for package in parts.packages:
        with suppress(metadata.PackageNotFoundError):
            lines.append(f"{package} {metadata.version(package)}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def fetched(file: str) -> Path:
    """Return the path of a weights file, which deepface downloads if it is missing.

    Args:
        file: path of the file under deepface's weights folder.

    Raises:
        ModelUnavailableError: the file cannot be downloaded.
    """
    path = weights_folder() / file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fetching():
            if not path.is_file():
                library().download(file, path.parent)
    except OSError:  # a folder that cannot be written does, if the file is there
        if not path.is_file():
            raise
    if not path.is_file():
        raise ModelUnavailableError(
            f"deepface downloaded {file}, but {path} does not exist; put the file there by hand"
        )
    return path


def fetching() -> AbstractContextManager[None]:
    """Return the lock that lets one process at a time download by deepface."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    return file_lock(cache_dir() / "deepface.lock", needed=False)


def library() -> ModuleType:
    """Import `faces.models.deepface_library`, and with it deepface, which is optional.

    Raises:
        ModelUnavailableError: deepface is not installed.
    """
    try:
        with loading_libraries(
            DEEPFACE_LOG_LEVEL=str(logging.ERROR),
            # Where TensorFlow is installed, deepface would take it, and ask for another package.
            DEEPFACE_BACKEND_ENGINE="onnx",
            **folders_of_libraries(),
        ):
            from faces.models import deepface_library
    except ImportError as error:
        raise ModelUnavailableError(
            f"deepface is not installed ({first_line(error)}); run "
            "`pip install deepface==0.0.103 werkzeug dlib-bin`"
        ) from error
    return deepface_library
