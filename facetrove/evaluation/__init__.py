"""Error rates of a model and an index on labelled photos, and the calibration of an index."""
