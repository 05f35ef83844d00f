"""The code that lists, reads and decodes photos."""
