"""Measure and calibrate an index: python -m examples.evaluate_index INDEX PEOPLE_COLUMN."""

import sys

import facetrove as ft

index_path, people = sys.argv[1:]
result = ft.evaluate_identification(index_path, people=people)
rank_one, num_people = result.model.rank_one.value, result.closed_gallery[0]
print(f"rank-1 {rank_one:.3f} in a gallery of {num_people:.0f} people")
ft.calibrate_index(index_path, people=people)
threshold = ft.open_index(index_path).threshold(fpir=0.05)
print(f"5% of searches for strangers return a match of similarity {threshold:.3f} or more")
