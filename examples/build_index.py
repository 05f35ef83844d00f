"""Build an index: python -m examples.build_index DATASET INDEX."""

import sys

from indexer import build_index

dataset, index = sys.argv[1:]
manifest = build_index(dataset, index)
print(f"{manifest.num_faces} faces, version {manifest.version}")
print(f"recall of the ten nearest against exact search: {manifest.recall.recall_at_10:.3f}")
