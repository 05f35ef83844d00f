"""How well a model and an index work on your own photos, and where to draw the line."""
