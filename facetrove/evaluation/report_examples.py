"""The faces of the worst errors, as sections of a report page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO

from faces.models.face import Box
from facetrove.evaluation.breakdown import WrongAnswer
from facetrove.evaluation.page import Page
from search.contact_sheet import face_tile_of


def add_examples(page: Page, worst: Sequence[WrongAnswer]) -> None:
    """Add the faces of the worst errors; their photos are read again."""
    headings = {
        False: "False positives: faces of two people at or above the threshold",
        True: "False negatives: one person below the threshold (a pair), or the probe and the most "
        "similar other person (a search)",
    }
    for mated, heading in headings.items():
        figures = []
        for error in worst:
            if error.mated != mated:
                continue
            both = (error.uri, error.box), (error.other_uri, error.other_box)
            images = "".join(
                f'<img alt="face" src="data:image/jpeg;base64,{_thumbnail(uri, box)}">'
                for uri, box in both
            )
            names = "<br>".join(escape(uri) for uri, _ in both)
            figures.append(
                f"<figure>{images}<figcaption>similarity {error.similarity:.3f}<br>{names}"
                "</figcaption></figure>"
            )
        if figures:
            page.add(heading, f"<div class=faces>{''.join(figures)}</div>")


def _thumbnail(uri: str, box: tuple[float, ...]) -> str:
    """Cut a face out of its photo, as a JPEG in base64."""
    content = BytesIO()
    face_tile_of(uri, Box(*box)).save(content, format="JPEG", quality=85)
    return base64.b64encode(content.getvalue()).decode()
