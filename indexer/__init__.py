"""Dataset to index: building it, keeping it up to date, deleting, purging, verifying."""
