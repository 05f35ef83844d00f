"""Embed every photo of a folder with deepface, for comparison in a benchmark.

Photos are embedded one by one, as deepface's own `find` does with a folder. `represent` also takes
a list, but loops over it, and runs SFace on one face at a time in both cases. Prints the number of
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
        # `find` enforces detection too. Without it, deepface would embed a photo in which no face
        # is detected as if all of it were a face.
        with suppress(FaceNotDetected):
            faces = DeepFace.represent(str(path), model_name="SFace", detector_backend="yunet")
            num_faces += len(faces)
    print(num_faces)


if __name__ == "__main__":
    main()
