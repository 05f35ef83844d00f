"""Networks as OpenVINO has compiled them, which are kept beside the prepared ones in the cache.

Compiling takes five times as long as reading what was compiled before, and as long as finding the
faces of several photos. What was compiled computes the same to the last bit. It holds for one
version of OpenVINO, one processor, and one number of threads, which its name stands for, and it is
used only if the user's register has its digest (see `faces.models.register`). Where cache or
register cannot be written, nothing is kept.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from faces.core.documents import json_text
from faces.core.errors import FaceTroveError
from faces.core.machine import processor_flags
from faces.core.storage import Folder
from faces.models.register import register, registered_at

_MAX_GROWTH, _MAX_EXTRA_BYTES = 2, 1 << 24
"""What was compiled is at most so many times as large as the prepared network, and so many bytes
more: the built-in networks grow by 7%."""

_ENDING = ".compiled"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CompiledFile:
    """The file of a compiled network in the cache.

    Attributes:
        network: path of the prepared ONNX file.
        digest: hexadecimal sha256 of the prepared file.
    """

    network: Path
    digest: str

    def read(self, version: str, settings: Mapping[str, object]) -> bytes | None:
        """Return what was compiled before, if it is of the user's own making; else None.

        Args:
            version: OpenVINO's version.
            settings: the settings that it is compiled with.
        """
        name = self._name(version, settings)
        try:
            max_bytes = _MAX_GROWTH * self.network.stat().st_size + _MAX_EXTRA_BYTES
            with Folder(self.network.parent).open(name) as file:
                content = file.read(max_bytes + 1)
            known = len(content) <= max_bytes and registered_at(content)
        except (OSError, FaceTroveError):
            return None
        return content if known else None

    def write(self, content: bytes, version: str, settings: Mapping[str, object]) -> None:
        """Keep what was compiled, and remove that of other versions of OpenVINO.

        Args:
            content: what was compiled.
            version, settings: as in `read`.
        """
        name, folder = self._name(version, settings), self.network.parent
        try:
            register(content, name)
            with Folder(folder).put(name) as file:
                file.write(content)
        except (OSError, FaceTroveError) as error:
            _log.info("the compiled network %s is not kept: %s", name, error)
            return
        for other in folder.glob(f"{self.network.stem}.*{_ENDING}"):
            if not other.name.startswith(f"{self._prefix(version)}-"):
                with suppress(OSError):
                    other.unlink()

    def _prefix(self, version: str) -> str:
        return f"{self.network.stem}.{hashlib.sha256(version.encode()).hexdigest()[:8]}"

    def _name(self, version: str, settings: Mapping[str, object]) -> str:
        holds_for = json_text([self.digest, sorted(processor_flags()), sorted(settings.items())])
        digest = hashlib.sha256(holds_for.encode()).hexdigest()[:16]
        return f"{self._prefix(version)}-{digest}{_ENDING}"
