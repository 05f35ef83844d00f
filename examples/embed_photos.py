"""Embed a folder of photos: python -m examples.embed_photos PHOTOS DATASET."""

import sys
from pathlib import Path

from beam_jobs.embed_photos import embed_photos

photos, dataset = map(Path, sys.argv[1:])
summary = embed_photos(photos, dataset)
print(f"{summary.total.num_faces} faces in {summary.total.num_photos} photos")
for reason, count in summary.total.by_reason.items():
    print(f"{count} photos rejected: {reason}")
