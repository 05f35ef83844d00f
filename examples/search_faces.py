"""Find the faces most similar to those in a photo: python -m examples.search_faces INDEX PHOTO."""

import sys

import facetrove as ft

index_path, photo = sys.argv[1:]
index = ft.open_index(index_path)
for probe in index.search(photo, k=min(5, len(index))):  # one probe for each face in the photo
    print(f"face at {probe.box.x:.0f},{probe.box.y:.0f}")
    for match in probe.matches:
        print(f"  {match.rank}. {match.similarity:.3f} {match.uri}")
