"""Contact sheets as web pages: one file that loads nothing and runs no script."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

import PIL.Image

from search.sheet_files import HTML_MARK

_STYLE = """
body{font:15px/1.4 system-ui,sans-serif;margin:2em;color:#1c1c1e;background:#fff}
section{border-top:1px solid #d2d2d7;padding:1em 0;display:flex;flex-wrap:wrap;gap:16px}
figure{margin:0;width:160px}img{display:block}figure.probe img{outline:3px solid #0a5fb4}
figure.doubt img{outline:3px solid #d97706}
figcaption{overflow-wrap:anywhere;font-size:13px}figcaption b{display:block;font-size:15px}
figcaption span{display:block;color:#6e6e73}
"""


def figure(
    tile: PIL.Image.Image,
    title: str,
    details: Iterable[str],
    *,
    is_probe: bool = False,
    is_marked: bool = False,
) -> str:
    """Return the HTML of a face with its caption.

    Args:
        tile: picture of the face.
        title: first line of the caption, as plain text.
        details: further lines.
        is_probe: whether it is a face that was searched for.
        is_marked: whether it is to be looked at with doubt.
    """
    content = io.BytesIO()
    tile.save(content, format="JPEG", quality=88)
    picture = base64.b64encode(content.getvalue()).decode()
    lines = "".join(f"<span>{escape(line)}</span>" for line in details if line)
    return (
        f"<figure{' class=probe' if is_probe else ' class=doubt' if is_marked else ''}>"
        f'<img width="{tile.width}" height="{tile.height}" alt="{escape(title)}" '
        f'src="data:image/jpeg;base64,{picture}">'
        f"<figcaption><b>{escape(title)}</b>{lines}</figcaption></figure>"
    )


def page(bands: Iterable[Sequence[str]]) -> Iterable[str]:
    """Yield the HTML of a sheet in parts, with a band of figures for each probe."""
    yield (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">{HTML_MARK}'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>Faces</title><style>{_STYLE}</style></head><body>\n"
    )
    for band in bands:
        yield "<section>"
        yield from band
        yield "</section>\n"
    yield "</body></html>\n"
