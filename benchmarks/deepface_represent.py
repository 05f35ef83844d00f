"""Embed every photo of a folder with deepface, as its users would: the peer of a benchmark."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    from deepface import DeepFace

    for path in sorted(Path(sys.argv[1]).iterdir()):
        DeepFace.represent(
            str(path), model_name="SFace", detector_backend="yunet", enforce_detection=False
        )


if __name__ == "__main__":
    main()
