"""The options of `facetrove embed` that limit photos, archives, lists and addresses."""

from __future__ import annotations

import click

from faces.core.settings import Access, PhotoLimits, SourceLimits
from facetrove.cli.options import Decorator, gathered

_NUMBER = click.IntRange(min=1)
_SECONDS = click.FloatRange(min=0.001)


def _limit(
    settings: type[PhotoLimits | SourceLimits],
    name: str,
    kind: click.ParamType[int] | click.ParamType[float],
    unit: str,
    *,
    text: str,
) -> Decorator:
    """Return the option of one limit.

    Args:
        settings: the dataclass that has the limit and its default.
        name: name of the limit, and of the option with hyphens.
        kind: type of the option's value.
        unit: unit of the value, for the help.
        text: text of the help.
    """
    return click.option(
        f"--{name.replace('_', '-')}",
        type=kind,
        metavar=unit,
        default=getattr(settings, name),
        show_default=True,
        help=text,
    )


limit_options = gathered(
    "limits",
    PhotoLimits,
    _limit(PhotoLimits, "max_pixels", _NUMBER, "COUNT", text="Reject photos with more pixels."),
    _limit(
        PhotoLimits,
        "max_bytes",
        _NUMBER,
        "BYTES",
        text="Reject a photo file that has more bytes.",
    ),
    _limit(
        PhotoLimits,
        "max_memory",
        _NUMBER,
        "BYTES",
        text="Reject a photo, with a row that says so, if decoding it takes more bytes of memory.",
    ),
    _limit(
        PhotoLimits,
        "photo_timeout",
        _SECONDS,
        "SECONDS",
        text="Reject a photo, with a row that says so, if it takes more processor time.",
    ),
)

source_limit_options = gathered(
    "source_limits",
    SourceLimits,
    _limit(
        SourceLimits,
        "max_entries",
        _NUMBER,
        "COUNT",
        text="Refuse archives with more members, and lists with more photos.",
    ),
    _limit(
        SourceLimits,
        "max_unpacked",
        _NUMBER,
        "BYTES",
        text="Refuse compressed archives that unpack to more bytes.",
    ),
    _limit(
        SourceLimits,
        "max_ratio",
        click.FloatRange(min=1),
        "RATIO",
        text="Refuse compressed tar archives that unpack to more than this many times their size.",
    ),
    _limit(
        SourceLimits,
        "max_header",
        _NUMBER,
        "BYTES",
        text="Refuse tar archives with longer extension headers of a member.",
    ),
    _limit(
        SourceLimits,
        "list_timeout",
        _SECONDS,
        "SECONDS",
        text="Refuse archives and lists that take more processor time to list.",
    ),
    _limit(
        SourceLimits,
        "list_memory",
        _NUMBER,
        "BYTES",
        text="Refuse archives and lists that take more memory to list.",
    ),
)

access_options = gathered(
    "access",
    Access,
    click.option(
        "--allow-scheme",
        multiple=True,
        metavar="SCHEME",
        help="Let photo lists name addresses of this scheme too, besides s3, gs, az and https. May "
        "be given several times.",
    ),
    click.option(
        "--allow-host",
        multiple=True,
        metavar="HOST",
        help="Let photo lists name this host although it is in a private or local network. May be "
        "given several times.",
    ),
)
