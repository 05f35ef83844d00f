"""Build the index of a dataset: python -m examples.build_index DATASET INDEX."""

import sys

import facetrove as ft

dataset, index_path = sys.argv[1:]
index = ft.build_index(dataset, index_path)
print(f"{len(index)} faces, version {index.manifest.version}")
for segment in index.manifest.segments:
    recipe = segment.recipe
    print(f"{segment.num_faces} faces searched by {recipe.factory} ({recipe.reason})")
