"""Photos: listing, reading and decoding them."""
