"""The options of `facetrove embed` that limit photos, archives, lists and addresses."""

from __future__ import annotations

import click

from faces.core.settings import Access, PhotoLimits, SourceLimits
from facetrove.cli.options import gathered


def _limits(
    max_pixels: int | None,
    max_bytes: int | None,
    max_memory: int | None,
    photo_timeout: float | None,
) -> PhotoLimits:
    """Return the limits on photos, with the default where an option is not given."""
    return PhotoLimits(
        max_bytes or PhotoLimits.max_bytes,
        max_pixels or PhotoLimits.max_pixels,
        max_memory or PhotoLimits.max_memory,
        photo_timeout or PhotoLimits.photo_timeout,
    )


limit_options = gathered(
    "limits",
    _limits,
    click.option(
        "--max-pixels",
        type=click.IntRange(min=1),
        metavar="COUNT",
        help="Reject photos with more pixels.  [default: 150000000]",
    ),
    click.option(
        "--max-bytes",
        type=click.IntRange(min=1),
        metavar="BYTES",
        help="Reject a photo file that has more bytes.  [default: 500000000]",
    ),
    click.option(
        "--max-memory",
        type=click.IntRange(min=1),
        metavar="BYTES",
        help="Reject a photo, with a row that says so, if decoding it takes more bytes of memory.  "
        "[default: 750000000]",
    ),
    click.option(
        "--photo-timeout",
        type=click.FloatRange(min=0.001),
        metavar="SECONDS",
        help="Reject a photo, with a row that says so, if it takes more processor time.  "
        "[default: 30]",
    ),
)

source_limit_options = gathered(
    "source_limits",
    SourceLimits,
    click.option(
        "--max-entries",
        type=click.IntRange(min=1),
        metavar="COUNT",
        default=SourceLimits.max_entries,
        show_default=True,
        help="Refuse archives with more members, and lists with more photos.",
    ),
    click.option(
        "--max-unpacked",
        type=click.IntRange(min=1),
        metavar="BYTES",
        default=SourceLimits.max_unpacked,
        show_default=True,
        help="Refuse compressed archives that unpack to more bytes.",
    ),
    click.option(
        "--max-ratio",
        type=click.FloatRange(min=1),
        metavar="RATIO",
        default=SourceLimits.max_ratio,
        show_default=True,
        help="Refuse compressed tar archives that unpack to more than this many times their size.",
    ),
    click.option(
        "--max-header",
        type=click.IntRange(min=1),
        metavar="BYTES",
        default=SourceLimits.max_header,
        show_default=True,
        help="Refuse tar archives with longer extension headers of a member.",
    ),
    click.option(
        "--list-timeout",
        type=click.FloatRange(min=0.001),
        metavar="SECONDS",
        default=SourceLimits.list_timeout,
        show_default=True,
        help="Refuse archives and lists that take more processor time to list.",
    ),
    click.option(
        "--list-memory",
        type=click.IntRange(min=1),
        metavar="BYTES",
        default=SourceLimits.list_memory,
        show_default=True,
        help="Refuse archives and lists that take more memory to list.",
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
