"""What facetrove uses of deepface: its downloads, its crops and its detectors.

deepface is imported nowhere else. It is optional, so this module is loaded by
`faces.models.deepface_weights.library` alone. Checked against deepface 0.0.103.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from deepface.commons import weight_utils
from deepface.models.Detector import FacialAreaRegion
from deepface.models.face_detection import Dlib as DlibDetector
from deepface.models.facial_recognition.dlib import Dlib
from deepface.models.facial_recognition.onnx import (
    ArcFace,
    DeepID,
    Facenet,
    FbDeepFace,
    GhostFaceNet,
    OpenFace,
    SFace,
    VGGFace,
)
from deepface.modules import detection, modeling, preprocessing
from numpy.typing import NDArray

from faces.core.errors import ModelUnavailableError, first_line
from faces.photos.decoding import Image

BUFFALO_URL = (
    "https://drive.google.com/uc?export=download&confirm=pbef&id=1N0GL-8ehw_bz2eZQWz2b0A5XBdXdxZhg"
)
"""Where deepface has Buffalo_L from; it stands in the midst of a method there."""

WEIGHTS_URLS: dict[str, str | list[str]] = {
    "arcface_weights.onnx": ArcFace.WEIGHTS_URL,
    "buffalo_l/webface_r50.onnx": BUFFALO_URL,
    "VGGFace2_DeepFace_weights_val-0.9034.onnx": FbDeepFace.WEIGHTS_URL,
    "deepid_weights.onnx": DeepID.WEIGHTS_URL,
    "dlib_face_recognition_resnet_model_v1.dat": Dlib.WEIGHT_URL,
    "facenet_weights.onnx": Facenet.FACENET128_WEIGHTS,
    "facenet512_weights.onnx": Facenet.FACENET512_WEIGHTS,
    "ghostfacenet_v1.onnx": GhostFaceNet.WEIGHTS_URL,
    "openface_weights.onnx": OpenFace.WEIGHTS_URL,
    "face_recognition_sface_2021dec.onnx": SFace.WEIGHTS_URL,
    "vgg_face_weights.onnx": VGGFace.WEIGHTS_URL,
    "shape_predictor_5_face_landmarks.dat": DlibDetector.WEIGHTS_URL,
}
"""The addresses from which deepface fetches files of weights, by the file."""


def download(file: str, folder: Path) -> None:
    """Let deepface download a file of weights.

    Args:
        file: one of `WEIGHTS_URLS`.
        folder: where deepface will put the file, for the message.

    Raises:
        ModelUnavailableError: no address gives the file.
    """
    url = WEIGHTS_URLS[file]
    try:
        weight_utils.download_weights_if_necessary(
            file_name=file,
            source_url=url,
            compress_type="bz2" if str(url).endswith(".bz2") else None,
        )
    except Exception as error:  # of any library that it downloads with
        tried = url if isinstance(url, str) else url[0]
        reason = type(error.__cause__ or error).__name__
        raise ModelUnavailableError(
            f"cannot fetch {file} from {tried} ({reason}); connect to the network once, or put "
            f"the file into {folder} by hand; `facetrove models NAME` checks a model"
        ) from error


def build_detector(name: str) -> Any:
    """deepface's detector of a name of its own, its weights downloaded if need be.

    Raises:
        ModelUnavailableError: its weights or its package cannot be had.
    """
    try:
        return modeling.build_model(task="face_detector", model_name=name)
    except Exception as error:  # of any library that a detector stands on
        raise ModelUnavailableError(
            f"deepface cannot load its detector {name} ({_said(error)}); connect to the "
            "network once, or do what it says"
        ) from error


def crop(
    image: Image,
    box: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    *,
    width: int,
    height: int,
) -> NDArray[np.float32]:
    """Cut one face out of an image as `DeepFace.represent` does.

    Args:
        image, box, landmarks: see `faces.models.alignment.Alignment.crop`, as for the result.
        width, height: of the crop, in pixels.
    """
    x, y, w, h = (int(value) for value in box)
    # Three times the box is all that deepface looks at; what lies outside is black.
    patch, left, top = _part(image, x - w, y - h, 3 * w, 3 * h), w, h
    theirs = FacialAreaRegion(x=left, y=top, w=w, h=h)
    eyes = landmarks[:2]
    if np.isfinite(eyes).all():
        (xr, yr), (xl, yl) = eyes.astype(int) - (x - left, y - top)
        # deepface's left eye is the person's, which is the right one in the image.
        theirs.left_eye, theirs.right_eye = (int(xl), int(yl)), (int(xr), int(yr))
    try:
        found = detection.extract_face(
            facial_area=theirs,
            img=patch,
            align=True,
            expand_percentage=0,
            width_border=0,
            height_border=0,
            detector_backend="",  # any but opencv: missing eyes are looked for
        ).img
    except ValueError as error:
        raise ModelUnavailableError(
            f"deepface cannot look for the eyes that a detector did not find ({_said(error)}); "
            "choose another detector, or --alignment five-point"
        ) from error
    if not found.size:
        return np.zeros((height, width, 3), np.float32)
    pixels = found / 255 if found.max() > 1 else found
    resized = preprocessing.resize_image(img=pixels, target_size=(height, width))
    return np.asarray(resized[0] * np.float32(255))


def _part(image: Image, left: int, top: int, width: int, height: int) -> Image:
    """A part of an image; what lies outside is black."""
    part = np.zeros((height, width, 3), np.uint8)
    first_y, first_x = max(0, top), max(0, left)
    seen = image[first_y : max(0, top + height), first_x : max(0, left + width)]
    part[first_y - top : first_y - top + seen.shape[0], first_x - left :][:, : seen.shape[1]] = seen
    return part


def _said(error: Exception) -> str:
    """What an error of deepface says, without its ornaments."""
    return first_line(error).encode("ascii", "ignore").decode().strip(" .")
