"""Find similar faces: python -m examples.search_faces INDEX PHOTO."""

import sys

from search.searcher import FaceSearcher

index, photo = sys.argv[1:]
searcher = FaceSearcher.open(index)
for probe in searcher.search(photo, k=min(5, len(searcher))):  # one per face in the photo
    print(f"face at {probe.box.x:.0f},{probe.box.y:.0f}")
    for match in probe.matches:
        print(f"  {match.rank}. {match.similarity:.3f} {match.uri}")
