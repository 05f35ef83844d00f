"""Embed a folder of photos: python -m examples.embed_photos PHOTOS DATASET."""

import sys
from pathlib import Path

from beam_jobs.embed_photos import embed_photos


def main() -> None:
    photos, dataset = map(Path, sys.argv[1:])
    summary = embed_photos(photos, dataset)
    print(f"{summary.total.num_faces} faces in {summary.total.num_photos} photos")
    for reason, count in summary.total.by_reason.items():
        print(f"{count} photos rejected: {reason}")


if __name__ == "__main__":  # worker processes import this file
    main()
