"""`facetrove compact`: rewrite an index as one segment."""

from __future__ import annotations

from pathlib import Path

import click

from faces.core.settings import Device
from facetrove.cli.index_text import show_manifest
from facetrove.cli.options import device_option, json_option
from facetrove.cli.terminal import index_progress
from indexer.compact import compact_index


@click.command()
@click.argument("index", type=click.Path(path_type=Path))
@device_option
@json_option
def compact(index: Path, device: Device, as_json: bool) -> None:
    """Rewrite INDEX as one segment, without faces that are deleted or out of date.

    An index of one segment is searched fastest. This is rarely needed: `facetrove index` merges
    small segments by itself.

    \b
    Example:
      facetrove compact faces.index
    """
    with index_progress() as on_progress:
        manifest = compact_index(index, device=device, on_progress=on_progress)
    show_manifest(manifest, index, as_json=as_json)
