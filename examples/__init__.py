"""Examples of the Python interface: one short program for each task."""
