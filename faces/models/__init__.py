"""The networks: detectors, embedders, alignment, measures."""
