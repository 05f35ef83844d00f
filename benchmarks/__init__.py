"""Scripts that measure; nothing imports them but each other."""
