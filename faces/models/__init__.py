"""Face detectors, embedders, alignment and quality measures."""
