"""Measure an index and draw the line: python -m examples.evaluate_index INDEX PEOPLE_COLUMN."""

import sys

import facetrove as ft

index, people = sys.argv[1:]
result = ft.evaluate_identification(index, people=people)
print(f"rank-1 {result.model.rank_one.value:.3f} among {result.closed_gallery[0]:.0f} people")
ft.calibrate_index(index, people=people)
threshold = ft.open_index(index).threshold(0.05)
print(f"a stranger finds a match of {threshold:.3f} or more in one search of twenty")
