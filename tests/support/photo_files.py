"""Photo files and archives, written by hand."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from faces.photos.reading import read_photo
from faces.photos.rejection import PhotoRejectedError, RejectReason


def reason_for(uri: str, max_bytes: int = 1_000) -> RejectReason:
    with pytest.raises(PhotoRejectedError) as caught:
        read_photo(uri, max_bytes)
    return caught.value.reason


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path
