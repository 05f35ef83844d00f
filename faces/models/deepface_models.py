"""deepface's models as ours, under the names deepface:ArcFace, deepface:retinaface and so on.

deepface and dlib are imported nowhere else. deepface fetches the weights, finds faces by its
detectors and cuts crops as `DeepFace.represent` does; its recognition networks are run as any
other network is, in batches. Checked against deepface 0.0.103; crops of its `normalization`
"base", which is its default.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property, partial
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from faces.core.errors import FaceTroveError, ModelUnavailableError, WrongUsageError, first_line
from faces.core.files import cache_dir
from faces.core.hashing import sha256_of
from faces.models.alignment import Alignment, Crop, arcface_template
from faces.models.embedder import EmbedderSpec
from faces.models.face import Detection
from faces.models.registry import DEEPFACE, DEEPFACE_ALIGNMENT, FACE_RECOGNITION_ALIGNMENT
from faces.photos.decoding import Image, Photo

DEEPFACE_BUFFALO_URL = (
    "https://drive.google.com/uc?export=download&confirm=pbef&id=1N0GL-8ehw_bz2eZQWz2b0A5XBdXdxZhg"
)
"""Where deepface has Buffalo_L from; it stands in the midst of a method there."""


@dataclass(frozen=True)
class DeepFaceAlignment:
    """Crops as `DeepFace.represent` makes them: an `Alignment`.

    The box is turned so that the eyes are level, cut out, and fitted into the crop with black
    beside it. Places are whole pixels, as deepface has them.
    """

    width: int
    height: int
    name: str = DEEPFACE_ALIGNMENT

    def pixels_needed(self, box: NDArray[np.float32], landmarks: NDArray[np.float32]) -> float:
        """See `Alignment`: all of them, for deepface does not reduce photos."""
        return float("inf")

    def crop(
        self, image: Image, box: NDArray[np.float32], landmarks: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """See `Alignment`."""
        detection = _deepface("deepface.modules.detection")
        preprocessing = _deepface("deepface.modules.preprocessing")
        region = _deepface("deepface.models.Detector").FacialAreaRegion
        x, y, width, height = (int(value) for value in box)
        # Three times the box is all that deepface looks at; what lies outside is black.
        patch, left, top = _part(image, x - width, y - height, 3 * width, 3 * height), width, height
        theirs = region(x=left, y=top, w=width, h=height)
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
            return np.zeros((self.height, self.width, 3), np.float32)
        pixels = found / 255 if found.max() > 1 else found
        resized = preprocessing.resize_image(img=pixels, target_size=(self.height, self.width))
        return np.asarray(resized[0] * np.float32(255))


@dataclass(frozen=True)
class FaceRecognitionAlignment:
    """Crops as `face_recognition.face_encodings` has dlib make them: an `Alignment`.

    dlib looks for five landmarks of its own in the box.
    """

    width: int = 150
    height: int = 150
    name: str = FACE_RECOGNITION_ALIGNMENT

    def pixels_needed(self, box: NDArray[np.float32], landmarks: NDArray[np.float32]) -> float:
        """See `Alignment`: all of them, for face_recognition does not reduce photos."""
        return float("inf")

    def crop(
        self, image: Image, box: NDArray[np.float32], landmarks: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """See `Alignment`."""
        dlib = _imported("dlib", package="dlib-bin")
        left, top, width, height = (int(value) for value in box)
        rectangle = dlib.rectangle(left, top, left + width, top + height)
        shape = _shape_predictor()(image, rectangle)
        return np.asarray(dlib.get_face_chip(image, shape, size=self.width, padding=0.25))


@cache
def _shape_predictor() -> Any:
    dlib = _imported("dlib", package="dlib-bin")
    path = _shape_predictor_file()
    try:
        return dlib.shape_predictor(str(path))
    except RuntimeError as error:
        raise ModelUnavailableError(
            f"{path} is damaged ({first_line(error)}); delete it, and it is fetched again"
        ) from error


def _shape_predictor_file() -> Path:
    file = "shape_predictor_5_face_landmarks.dat"
    return _fetch(file, "deepface.models.face_detection.Dlib", "WEIGHTS_URL")


def _part(image: Image, left: int, top: int, width: int, height: int) -> Image:
    """A part of an image; what lies outside is black."""
    part = np.zeros((height, width, 3), np.uint8)
    first_y, first_x = max(0, top), max(0, left)
    seen = image[first_y : max(0, top + height), first_x : max(0, left + width)]
    part[first_y - top : first_y - top + seen.shape[0], first_x - left :][:, : seen.shape[1]] = seen
    return part


@dataclass(frozen=True)
class Recogniser:
    """One of deepface's recognition networks.

    Attributes:
        file: of its weights, under deepface's weights folder.
        width, height: of its input in pixels.
        dimension: numbers in an embedding.
        module, constant: where deepface keeps the address of the weights.
        five_points: it was trained on faces aligned by five landmarks.
        settings: of `EmbedderSpec`, where they are not those of deepface's own graphs: BGR
            from 0 to 1, channels last.
    """

    file: str
    width: int
    height: int
    dimension: int
    module: str
    constant: str = "WEIGHTS_URL"
    five_points: bool = False
    settings: tuple[tuple[str, Any], ...] = (("bgr", True), ("channels_last", True), ("high", 1.0))


_ONNX = "deepface.models.facial_recognition.onnx."

RECOGNISERS = {
    "ArcFace": Recogniser(
        "arcface_weights.onnx", 112, 112, 512, _ONNX + "ArcFace", five_points=True
    ),
    "Buffalo_L": Recogniser(
        "buffalo_l/webface_r50.onnx",
        112,
        112,
        512,
        "",
        five_points=True,
        settings=(("low", -1.0), ("high", 1.0)),
    ),
    "DeepFace": Recogniser(
        "VGGFace2_DeepFace_weights_val-0.9034.onnx", 152, 152, 4096, _ONNX + "FbDeepFace"
    ),
    "DeepID": Recogniser("deepid_weights.onnx", 47, 55, 160, _ONNX + "DeepID"),
    "Dlib": Recogniser(
        "dlib_face_recognition_resnet_model_v1.dat",
        150,
        150,
        128,
        "deepface.models.facial_recognition.dlib.Dlib",
        "WEIGHT_URL",
    ),
    "Facenet": Recogniser(
        "facenet_weights.onnx", 160, 160, 128, _ONNX + "Facenet", "FACENET128_WEIGHTS"
    ),
    "Facenet512": Recogniser(
        "facenet512_weights.onnx", 160, 160, 512, _ONNX + "Facenet", "FACENET512_WEIGHTS"
    ),
    "GhostFaceNet": Recogniser(
        "ghostfacenet_v1.onnx", 112, 112, 512, _ONNX + "GhostFaceNet", five_points=True
    ),
    "OpenFace": Recogniser("openface_weights.onnx", 96, 96, 128, _ONNX + "OpenFace"),
    "SFace": Recogniser(
        "face_recognition_sface_2021dec.onnx",
        112,
        112,
        128,
        _ONNX + "SFace",
        five_points=True,
        settings=(("whole_pixels", True),),
    ),
    "VGG-Face": Recogniser("vgg_face_weights.onnx", 224, 224, 4096, _ONNX + "VGGFace"),
}
"""deepface's recognition models by their names there."""


@dataclass(frozen=True)
class DetectorParts:
    """What one of deepface's detectors consists of.

    Attributes:
        module: what is imported for it.
        files: of weights, under deepface's weights folder; of several, those there are.
        packages: on PyPI, whose version its answers depend on; of several, those there are.
    """

    module: str
    files: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


DETECTORS = {
    "opencv": DetectorParts("cv2", ("haarcascade_frontalface_default.xml",)),
    "ssd": DetectorParts("cv2", ("res10_300x300_ssd_iter_140000.caffemodel",)),
    "dlib": DetectorParts("dlib", ("shape_predictor_5_face_landmarks.dat",), ("dlib-bin", "dlib")),
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
"""deepface's detectors by their names there."""


def weights_folder() -> Path:
    """Where deepface keeps weights: in DEEPFACE_HOME, or the user's home folder."""
    return Path(os.environ.get("DEEPFACE_HOME") or Path.home()) / ".deepface" / "weights"


def embedder_spec(name: str) -> EmbedderSpec:
    """deepface's recognition network of a name of `RECOGNISERS`, but for Dlib's.

    Fetches the weights if they are not there.

    Raises:
        ModelUnavailableError: they cannot be had.
    """
    recogniser = RECOGNISERS[name]
    path = _fetched(name)
    return EmbedderSpec(
        name=DEEPFACE + name,
        locate=partial(_fetched, name),
        digest=sha256_of(path),
        alignment=default_alignment(name),
        dimension=recogniser.dimension,
        cache_name=f"deepface-{name}",
        **dict(recogniser.settings),
    )


def default_alignment(name: str) -> Alignment:
    """How the crops of a recognition model are made unless another way is chosen."""
    recogniser = RECOGNISERS[name]
    if recogniser.five_points:
        return arcface_template(recogniser.width)
    return DeepFaceAlignment(recogniser.width, recogniser.height)


def _fetched(name: str) -> Path:
    """The weights file of a recognition model, fetched by deepface if need be."""
    recogniser = RECOGNISERS[name]
    return _fetch(recogniser.file, recogniser.module, recogniser.constant)


def _fetch(file: str, module: str, constant: str) -> Path:
    """A file of weights, fetched by deepface if it is not there.

    Args:
        file: under deepface's weights folder.
        module, constant: where deepface keeps its address; "": Buffalo_L's.
    """
    path = weights_folder() / file
    path.parent.mkdir(parents=True, exist_ok=True)
    with _fetching():
        if path.is_file():
            return path
        url = getattr(_deepface(module), constant) if module else DEEPFACE_BUFFALO_URL
        weight_utils = _deepface("deepface.commons.weight_utils")
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
                f"the file into {path.parent} by hand; `facetrove models NAME` checks a model"
            ) from error
    if not path.is_file():
        raise ModelUnavailableError(f"deepface fetched {file} but {path} is not there")
    return path


def _fetching() -> FileLock:
    """Held by the one process that lets deepface fetch something."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    return FileLock(cache_dir() / "deepface.lock")


class DlibEmbedder:
    """dlib's ResNet (King, 2017), by dlib itself.

    Args:
        alignment: how crops are made; deepface's by default.
    """

    name = f"{DEEPFACE}Dlib"
    runs_on = "dlib on cpu"
    dimension = 128

    def __init__(self, alignment: Alignment | None = None) -> None:
        self._path = _fetched("Dlib")
        self.weights_digest = sha256_of(self._path)
        self.alignment = alignment or default_alignment("Dlib")
        if isinstance(self.alignment, FaceRecognitionAlignment):  # it has weights of its own
            both = f"{self.weights_digest} {sha256_of(_shape_predictor_file())}"
            self.weights_digest = hashlib.sha256(both.encode()).hexdigest()

    @cached_property
    def _network(self) -> Any:
        dlib = _imported("dlib", package="dlib-bin")
        try:
            return dlib.face_recognition_model_v1(str(self._path))
        except RuntimeError as error:
            raise WrongUsageError(
                f"{self._path} is damaged ({first_line(error)}); delete it, and it is fetched again"
            ) from error

    def embed(self, crops: Crop) -> NDArray[np.float32]:
        """See `faces.models.pipeline.FaceEmbedder`."""
        if not len(crops):
            return np.empty((0, self.dimension), np.float32)
        whole = crops.astype(np.uint8)  # rounded down, as deepface does
        vectors = self._network.compute_face_descriptor(list(whole))
        return np.array(vectors, dtype=np.float32).reshape(len(whole), -1)


class DeepFaceDetector:
    """One of deepface's detectors. Each looks at whole photos, one after the other.

    Args:
        name: of `DETECTORS`.
        min_score: least score of a face, [0, 1]; by default the detector's own.

    Raises:
        ModelUnavailableError: its weights or its package cannot be had.
    """

    runs_on = "deepface"

    def __init__(self, name: str, *, min_score: float | None = None) -> None:
        self.name = DEEPFACE + name
        self._min_score = min_score or 0.0
        self._region = _deepface("deepface.models.Detector").FacialAreaRegion
        weights_folder().mkdir(parents=True, exist_ok=True)
        with _fetching():
            try:
                self._model = _deepface("deepface.modules.modeling").build_model(
                    task="face_detector", model_name=name
                )
            except FaceTroveError:
                raise
            except Exception as error:  # of any library that a detector stands on
                raise ModelUnavailableError(
                    f"deepface cannot load its detector {name} ({_said(error)}); connect to the "
                    "network once, or do what it says"
                ) from error
        self.weights_digest = _digest_of(DETECTORS[name])

    def reduction_for(self, longer_side: int) -> int:
        """See `faces.models.pipeline.FaceDetector`: deepface does not reduce photos."""
        return 1

    def detect(self, photos: Sequence[Photo]) -> list[list[Detection]]:
        """See `faces.models.pipeline.FaceDetector`."""
        return [self._detect(photo.image) for photo in photos]

    def _detect(self, image: Image) -> list[Detection]:
        height, width = image.shape[:2]
        across, down = int(0.5 * width), int(0.5 * height)
        # As deepface does before it aligns; faces beyond the edge are found for it.
        bordered = cv2.copyMakeBorder(
            np.ascontiguousarray(image[:, :, ::-1]), down, down, across, across, cv2.BORDER_CONSTANT
        )
        found = [
            _to_detection(region, bordered.shape[1], bordered.shape[0], across, down)
            for region in self._model.detect_faces(bordered)
        ]
        kept = [d for d in found if d is not None and d.score >= self._min_score]
        return sorted(kept, key=lambda detection: -detection.score)


def _to_detection(region: Any, width: int, height: int, across: int, down: int) -> Detection | None:
    """A region in a photo with borders as a detection in the photo; None if it has no extent."""
    left, top = max(0, int(region.x)), max(0, int(region.y))
    right = min(width, int(region.x) + int(region.w))
    bottom = min(height, int(region.y) + int(region.h))
    if right - left < 2 or bottom - top < 2:
        return None
    # deepface's sides are the person's, ours the image's.
    points = (region.right_eye, region.left_eye, region.nose, region.mouth_right, region.mouth_left)
    landmarks = np.array(
        [(np.nan, np.nan) if point is None else point[:2] for point in points], np.float32
    )
    score = 1.0 if region.confidence is None else float(np.clip(region.confidence, 0, 1))
    return Detection(
        box=np.array([left - across, top - down, right - left, bottom - top], np.float32),
        landmarks=landmarks - np.array([across, down], np.float32),
        score=score,
    )


def detector_is_here(name: str) -> bool:
    """Whether what a detector consists of is on this machine."""
    parts = DETECTORS[name]
    there = [file for file in parts.files if (weights_folder() / file).is_file()]
    return find_spec(parts.module) is not None and bool(there or not parts.files)


def _digest_of(parts: DetectorParts) -> str:
    """Of the files there are and the versions of the packages."""
    paths = {file: weights_folder() / file for file in parts.files}
    lines = [f"{file} {sha256_of(path)}" for file, path in paths.items() if path.is_file()]
    for package in parts.packages:
        with suppress(metadata.PackageNotFoundError):
            lines.append(f"{package} {metadata.version(package)}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _deepface(module: str) -> Any:
    os.environ.setdefault("DEEPFACE_LOG_LEVEL", str(logging.ERROR))
    return _imported(module, package="facetrove[deepface]")


def _imported(module: str, *, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ModelUnavailableError(
            f"{module.partition('.')[0]} is not installed ({first_line(error)}); run "
            f"`pip install '{package}'`"
        ) from error


def _said(error: Exception) -> str:
    """What an error of deepface says, without its ornaments."""
    return first_line(error).encode("ascii", "ignore").decode().strip(" .")
