"""Find and embed the faces in photos: python -m examples.embed_photos PHOTOS DATASET."""

import sys

import facetrove as ft

photos, dataset = sys.argv[1:]
summary = ft.embed_photos(photos, dataset)
print(f"{summary.total.num_faces} faces in {summary.total.num_photos} photos")
for reason, count in summary.total.by_reason.items():
    print(f"{count} photos rejected: {reason}")
