"""Beam transforms that fit into any pipeline. Importing this module loads Apache Beam.

    import apache_beam as beam
    from facetrove.beam import EmbedPhotos

    with beam.Pipeline() as pipeline:
        photos = pipeline | beam.Create(["a.jpg", "s3://archive/b.jpg"])
        found = photos | EmbedPhotos()
        found.faces | ...          # a dict for each face
        found.without_faces | ...  # a dict for each photo in which no face was found
        found.rejected | ...       # a dict for each photo that cannot be read, with the reason

`build_index_in_pieces` builds an index by a Beam pipeline of its own.
"""

from beam_jobs.index_pieces import build_index_in_pieces
from beam_jobs.transforms import EmbeddedPhotos, EmbedPhotos

__all__ = ["EmbedPhotos", "EmbeddedPhotos", "build_index_in_pieces"]
