"""Build an index: python -m examples.build_index DATASET INDEX."""

import sys

import facetrove as ft

dataset, path = sys.argv[1:]
index = ft.build_index(dataset, path)
print(f"{len(index)} faces, version {index.manifest.version}")
for segment in index.manifest.segments:
    print(f"{segment.num_faces} faces by {segment.recipe.factory}: {segment.recipe.reason}")
