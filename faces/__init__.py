"""From pixels to unit vectors: decode, detect, align, embed. Models live here."""
