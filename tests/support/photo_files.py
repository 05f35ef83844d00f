"""Archives of photos, and the reasons for which photo files are rejected."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from faces.photos.reading import read_photo
from faces.photos.rejection import PhotoRejectedError, RejectReason


def reason_for(uri: str, max_bytes: int = 1_000) -> RejectReason:
    """Return the reason for which reading a photo is rejected; fail if it is read."""
    with pytest.raises(PhotoRejectedError) as caught:
        read_photo(uri, max_bytes)
    return caught.value.reason


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    """Write a tar archive with members of given names and contents."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path
