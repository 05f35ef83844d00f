"""Decide whether two photos show the same person: python -m examples.compare_photos A B."""

import sys

import facetrove as ft

a, b = sys.argv[1:]
comparison = ft.compare(a, b)
answer = {True: "yes", False: "no", None: "not decided"}[comparison.decision]
print(f"similarity {comparison.similarity:.3f}; same person: {answer} ({comparison.reason})")
