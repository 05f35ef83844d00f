"""Look faces up in an index, and draw what was found."""
