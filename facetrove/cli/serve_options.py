"""The options of `facetrove serve` that limit what it is asked."""

from __future__ import annotations

from functools import wraps
from typing import Any

import click

from faces.core.settings import PhotoLimits
from facetrove.cli.options import CommandFunction
from facetrove.service.options import SERVICE_PHOTO_LIMITS, ServiceLimits

_COUNT, _SECONDS = click.IntRange(min=1), click.FloatRange(min=0.001)

_PHOTO = {
    "max_bytes": ("BYTES", "Refuse a photo file that has more bytes."),
    "max_pixels": ("COUNT", "Refuse photos with more pixels."),
    "max_memory": ("BYTES", "Refuse a photo if decoding it takes more bytes of memory."),
    "photo_timeout": ("SECONDS", "Refuse a photo if decoding it takes more processor time."),
}

_REQUESTS = {
    "max_request_bytes": ("BYTES", "Refuse requests with more bytes."),
    "max_buffered_bytes": ("BYTES", "Receive no more bytes than these at a time, all together."),
    "max_photos": ("COUNT", "Refuse searches with more photos."),
    "max_uploads": ("COUNT", "Refuse enrol requests with more photos."),
    "max_faces": ("COUNT", "Refuse photos of more faces."),
    "max_k": ("COUNT", "Refuse searches for more matches of each face."),
    "max_embeddings": ("COUNT", "Refuse searches by more embeddings."),
    "max_matches": ("COUNT", "Refuse searches for more matches in all."),
    "max_rate": (
        "COUNT",
        "Refuse more requests per second of one key, or of one address where "
        "no keys are needed.  [default: any number]",
    ),
    "max_concurrent": ("COUNT", "Work on no more requests at a time."),
    "max_connections": ("COUNT", "Keep no more connections open."),
    "max_jobs": ("COUNT", "Refuse more jobs that wait or run."),
    "max_streams": ("COUNT", "Keep no more streams of events open."),
    "request_timeout": ("SECONDS", "Refuse requests that take longer to arrive."),
    "answer_timeout": ("SECONDS", "Give up clients that take longer to take an answer."),
    "max_stored_bytes": ("BYTES", "Refuse photos to be kept beyond these bytes in all."),
    "max_watches": ("COUNT", "Refuse more watches."),
    "max_watch_matches": ("COUNT", "Keep no more matches of each watch: drop its oldest."),
}


def limit_options(command: CommandFunction) -> CommandFunction:
    """Add an option for each limit, and pass their values on as the argument `limits`."""

    @wraps(command)
    def with_limits(**arguments: Any) -> None:
        photo = PhotoLimits(**{name: arguments.pop(name) for name in _PHOTO})
        requests = {name: arguments.pop(name) for name in _REQUESTS}
        command(**arguments, limits=ServiceLimits(photo, **requests))

    decorated: CommandFunction = with_limits
    for name, (unit, text) in reversed({**_PHOTO, **_REQUESTS}.items()):
        default = getattr(SERVICE_PHOTO_LIMITS if name in _PHOTO else ServiceLimits(), name)
        is_seconds = unit == "SECONDS" or name == "max_rate"
        decorated = click.option(
            f"--{name.replace('_', '-')}",
            type=_SECONDS if is_seconds else _COUNT,
            metavar=unit,
            default=default,
            show_default=default is not None,
            help=text,
        )(decorated)
    return decorated
