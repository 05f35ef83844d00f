"""The interface to the package deepface: its downloads, crops and detectors.

deepface is imported nowhere else. It is optional, so only `faces.models.deepface_weights.library`
loads this module. Checked against deepface 0.0.103.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from deepface.commons import weight_utils
from deepface.models.demography.onnx import Emotion
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

from faces.core.environment import folders_of_libraries, loading_libraries
from faces.core.errors import ModelUnavailableError, WrongUsageError, first_line
from faces.photos.decoding import Image

BUFFALO_URL = (
    "https://drive.google.com/uc?export=download&confirm=pbef&id=1N0GL-8ehw_bz2eZQWz2b0A5XBdXdxZhg"
)
"""URL from which deepface downloads Buffalo_L; a copy, since deepface has it inside a method."""

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
    "facial_expression_model_weights.onnx": Emotion.WEIGHTS_URL,
    "shape_predictor_5_face_landmarks.dat": DlibDetector.WEIGHTS_URL,
}
"""The URL or URLs from which deepface downloads each file of weights, by the file's path under
deepface's weights folder."""

_WITHOUT_MATPLOTLIB = ("opencv", "ssd", "dlib", "yunet", "centerface", "retinaface")
"""deepface's detectors that load no matplotlib, as their sources show."""


def download(file: str, folder: Path) -> None:
    """Have deepface download a file of weights.

    Args:
        file: a key of `WEIGHTS_URLS`.
        folder: the folder that deepface puts the file into, for the error message.

    Raises:
        ModelUnavailableError: the file cannot be downloaded from any of its URLs.
    """
    url = WEIGHTS_URLS[file]
    try:
        weight_utils.download_weights_if_necessary(
            file_name=file,
            source_url=url,
            compress_type="bz2" if str(url).endswith(".bz2") else None,
        )
    except Exception as error:  # deepface downloads by several libraries, each with its own errors
        tried = url if isinstance(url, str) else url[0]
        reason = type(error.__cause__ or error).__name__
        raise ModelUnavailableError(
            f"cannot fetch {file} from {tried} ({reason}); connect to the network once, or put "
            f"the file into {folder} by hand; `facetrove models NAME` checks a model"
        ) from error


def build_detector(name: str) -> Any:
    """Build one of deepface's detectors, which downloads its weights if they are missing.

    Args:
        name: the detector's name in deepface, such as "retinaface".

    Raises:
        ModelUnavailableError: the detector's weights cannot be downloaded, or its package is not
            installed.
        WrongUsageError: the detector would obey a file in the current folder.
    """
    _require_no_plot_settings(name)
    try:
        with loading_libraries(**folders_of_libraries()):
            return modeling.build_model(task="face_detector", model_name=name)
    except Exception as error:  # each detector uses another library, with its own errors
        raise ModelUnavailableError(
            f"deepface cannot load its detector {name} ({_plain_message(error)}); connect to the "
            "network once, or do what this message of deepface says"
        ) from error


def _require_no_plot_settings(name: str) -> None:
    """Raise WrongUsageError if a detector's package would read settings from the current folder.

    Some of these packages load matplotlib, which obeys a file `matplotlibrc` of the current folder.
    """
    settings = Path("matplotlibrc")
    if name in _WITHOUT_MATPLOTLIB or "matplotlib" in sys.modules or not settings.exists():
        return
    raise WrongUsageError(
        f"deepface's detector {name} may load matplotlib, which obeys the file "
        f"{settings.absolute()}; run the command in another folder"
    )


def crop(
    image: Image,
    box: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    *,
    width: int,
    height: int,
) -> NDArray[np.float32]:
    """Crop one face out of an image as `DeepFace.represent` does.

    Args:
        image, box, landmarks: see `faces.models.alignment.Alignment.crop`.
        width, height: size of the crop in pixels.

    Returns:
        (height, width, 3) float32 RGB crop, 0 to 255, black outside the face.

    Raises:
        ModelUnavailableError: the eyes are missing, and deepface cannot look for them.
    """
    x, y, w, h = (int(value) for value in box)
    # deepface looks at nothing beyond three times the box.
    patch, left, top = _part(image, x - w, y - h, 3 * w, 3 * h), w, h
    region = FacialAreaRegion(x=left, y=top, w=w, h=h)
    eyes = landmarks[:2]
    if np.isfinite(eyes).all():
        (xr, yr), (xl, yl) = eyes.astype(int) - (x - left, y - top)
        # deepface's left eye is the person's, which is the right one in the image.
        region.left_eye, region.right_eye = (int(xl), int(yl)), (int(xr), int(yr))
    try:
        face = detection.extract_face(
            facial_area=region,
            img=patch,
            align=True,
            expand_percentage=0,
            width_border=0,
            height_border=0,
            detector_backend="",  # with any but "opencv", deepface looks for missing eyes
        ).img
    except ValueError as error:
        raise ModelUnavailableError(
            "deepface cannot look for the eyes that the detector did not find "
            f"({_plain_message(error)}); choose another detector, or --alignment five-point"
        ) from error
    if not face.size:
        return np.zeros((height, width, 3), np.float32)
    pixels = face / 255 if face.max() > 1 else face
    resized = preprocessing.resize_image(img=pixels, target_size=(height, width))
    return np.asarray(resized[0] * np.float32(255))


def _part(image: Image, left: int, top: int, width: int, height: int) -> Image:
    """Cut a (height, width, 3) part out of an image; pixels from outside the image are black."""
    part = np.zeros((height, width, 3), np.uint8)
    first_y, first_x = max(0, top), max(0, left)
    inside = image[first_y : max(0, top + height), first_x : max(0, left + width)]
    rows, columns = inside.shape[:2]
    part[first_y - top : first_y - top + rows, first_x - left :][:, :columns] = inside
    return part


def _plain_message(error: Exception) -> str:
    """Return the first line of an error of deepface, without emoji and trailing punctuation."""
    return first_line(error).encode("ascii", "ignore").decode().strip(" .")
