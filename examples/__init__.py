"""One short file per user action."""
