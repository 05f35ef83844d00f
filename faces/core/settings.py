"""The settings that several packages share: limits on photos, selection of faces, devices."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from msgspec import Meta

from faces.core.documents import Count, Share


@dataclass(frozen=True)
class PhotoLimits:
    """The limits on photo files.

    A photo beyond one of the first three limits, by what its header says, is rejected as too large;
    one that really takes more memory or time is rejected as too expensive.

    Attributes:
        max_bytes: maximum size of a photo file in bytes. The default holds 150 million pixels of
            uncompressed RGB, which take 450 million bytes.
        max_pixels: maximum number of pixels of a photo, width times height. The default is what
            the largest cameras make.
        max_memory: maximum memory in bytes that one photo may take at the peak of decoding, the
            file's content included. The default is enough for 150 million pixels of a JPEG, 130
            million of a colour PNG, 85 million of an uncompressed TIFF, 75 million of a HEIC and
            40 million of a WebP.
        photo_timeout: maximum processor time in seconds that one photo may take, from its first
            byte to its last embedding.
    """

    max_bytes: Count = 500_000_000
    max_pixels: Count = 150_000_000
    max_memory: Count = 750_000_000
    photo_timeout: Annotated[float, Meta(gt=0)] = 30.0


@dataclass(frozen=True)
class SourceLimits:
    """The limits on an archive or a photo list. A source beyond one of them is refused.

    Attributes:
        max_entries: maximum number of members of an archive, or of photos in a list.
        max_unpacked: maximum size in bytes of a compressed tar archive when it is unpacked.
        max_ratio: maximum ratio of the unpacked to the packed size of a tar archive, from the first
            256 million unpacked bytes on. Photos hardly get smaller when they are packed; bitmaps
            of drawings may by a factor of 100.
        max_header: maximum size in bytes of a tar member's extension headers, which hold long names
            and attributes of files.
        list_timeout: maximum processor time in seconds of listing one source.
        list_memory: maximum memory in bytes of listing one source.
    """

    max_entries: int = 10_000_000
    max_unpacked: int = 1_000_000_000_000
    max_ratio: float = 200.0
    max_header: int = 131_072
    list_timeout: float = 3_600.0
    list_memory: int = 2_000_000_000


@dataclass(frozen=True)
class Access:
    """The addresses that photo lists may name, besides s3, gs and az, and https in the open net.

    Attributes:
        allow_scheme: further schemes of addresses, such as "http" or "sftp".
        allow_host: hosts that may be asked although they are in a private or local network.
    """

    allow_scheme: tuple[str, ...] = ()
    allow_host: tuple[str, ...] = ()


@dataclass(frozen=True)
class FaceSelection:
    """The criteria by which detected faces are kept.

    Attributes:
        min_face: minimum length of the shorter side of a face's box, in pixels of the photo; large
            photos are searched at a scale at which faces of this size are found. None: the scale is
            that for 48 pixels, and smaller faces are kept if found.
        max_faces: maximum number of faces of one photo, of which the largest are kept; None: no
            maximum.
        min_score: minimum detection score of a face, in [0, 1]; None: the detector's default.
        min_sharpness: minimum sharpness of a face, as `faces.models.quality` measures it; 0: no
            minimum.
    """

    min_face: Count | None = None
    max_faces: Count | None = None
    min_score: Share | None = None
    min_sharpness: Annotated[float, Meta(ge=0)] = 0.0

    def __str__(self) -> str:
        default = asdict(FaceSelection())
        given = {name: value for name, value in asdict(self).items() if value != default[name]}
        return ", ".join(f"{name} {value}" for name, value in given.items()) or "none"


Device = Literal["auto", "cpu", "cuda"]
"""Device on which an index is built or searched. auto: a GPU where FAISS sees one, else the CPU."""

ModelDevice = Literal["auto", "cpu", "cuda", "tensorrt", "coreml", "openvino"]
"""Device on which a network runs. auto: an NVIDIA GPU where ONNX Runtime sees one, else as cpu.
cpu: the CPU, by the engine that is fastest for this network. openvino: the CPU, always by OpenVINO.
cuda, tensorrt, coreml: the device of ONNX Runtime's execution provider of that name."""

Precision = Literal["fp32", "fp16"]
"""Floating-point precision in which a network computes. fp16: half precision, only with the
devices cuda, tensorrt and coreml; embeddings then differ from those of fp32 in the third digit."""
