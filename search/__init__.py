"""Search an index for similar faces, and draw the results on contact sheets."""
