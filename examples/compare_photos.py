"""Do two photos show one person? python -m examples.compare_photos PHOTO PHOTO."""

import sys

import facetrove as ft

comparison = ft.compare(*sys.argv[1:])
answer = {True: "yes", False: "no", None: "cannot be told"}[comparison.decision]
print(f"similarity {comparison.similarity:.3f}; same person: {answer} ({comparison.reason})")
