"""Settings that several rooms share: limits on photos, the selection of faces, devices."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True)
class PhotoLimits:
    """Limits on the photos that are tried; a photo beyond one of them is rejected as too large.

    Attributes:
        max_bytes: size in bytes of the largest file that is read; 150 million pixels take 450
            million, uncompressed.
        max_pixels: number of pixels of the largest photo that is decoded: as large cameras make.
        max_memory: bytes that one photo may take at the peak of decoding, its content included.
            Enough for 150 million pixels of a JPEG, 130 million of a colour PNG, 85 million of an
            uncompressed TIFF, 75 million of a HEIC and 40 million of a WebP.
    """

    max_bytes: int = 500_000_000
    max_pixels: int = 150_000_000
    max_memory: int = 750_000_000


@dataclass(frozen=True)
class FaceSelection:
    """Which of the faces that a detector finds are kept.

    Attributes:
        min_face: shorter side of the box in pixels of the photo; large photos are searched so
            that faces of this size are found. None: searched for 48, smaller ones kept.
        max_faces: the largest so many of a photo; None: all.
        min_score: detector's least score, [0, 1]; None: the detector's own.
        min_sharpness: see `faces.models.quality`; 0: all.
    """

    min_face: int | None = None
    max_faces: int | None = None
    min_score: float | None = None
    min_sharpness: float = 0.0

    def __str__(self) -> str:
        given = {name: value for name, value in asdict(self).items() if value}
        return ", ".join(f"{name} {value}" for name, value in given.items()) or "none"


Device = Literal["auto", "cpu", "cuda"]
"""Where an index is built or searched; auto: on a GPU where FAISS sees one."""

ModelDevice = Literal["auto", "cpu", "cuda", "tensorrt", "coreml", "openvino"]
"""Where a network is to run. cpu: on the processor, by the engine that is fastest there. openvino:
on the processor, by OpenVINO whether it is fastest or not. auto: on an NVIDIA card where ONNX
Runtime sees one, else as cpu."""

Precision = Literal["fp32", "fp16"]
"""fp16: half the numbers' bits, on a card or on Apple's chips; embeddings differ in the third
digit."""
