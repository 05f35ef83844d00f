"""Embed every photo of a folder with deepface, as its users would: the peer of a benchmark.

Photo by photo, as deepface's own `find` goes over a folder. `represent` also takes a list, but
goes over it in the same way, and gives SFace one face at a time either way. Prints the number of
faces.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path


def main() -> None:
    from deepface import DeepFace
    from deepface.modules.exceptions import FaceNotDetected

    num_faces = 0
    for path in sorted(Path(sys.argv[1]).iterdir()):
        # As `find` does; without enforcement deepface would embed the whole photo as a face.
        with suppress(FaceNotDetected):
            faces = DeepFace.represent(str(path), model_name="SFace", detector_backend="yunet")
            num_faces += len(faces)
    print(num_faces)


if __name__ == "__main__":
    main()
