"""Build an index from a dataset, update it, delete and purge faces, and verify every file."""
