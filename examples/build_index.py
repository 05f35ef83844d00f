"""Build an index: python -m examples.build_index DATASET INDEX."""

import sys

from indexer import build_index

dataset, index = sys.argv[1:]
manifest = build_index(dataset, index)
print(f"{manifest.num_faces} faces, version {manifest.version}")
for segment in manifest.segments:
    print(f"{segment.num_faces} faces by {segment.recipe.factory}: {segment.recipe.reason}")
