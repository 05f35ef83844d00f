"""`facetrove serve`: answer searches over HTTP."""

from __future__ import annotations

import logging
import os
import sys
import webbrowser
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import click

from faces.core.errors import WrongUsageError
from faces.core.settings import Device
from facetrove.cli.options import Duration, device_option, json_option
from facetrove.cli.serve_options import limit_options
from facetrove.cli.terminal import print_json
from facetrove.cli.text import printable
from facetrove.service.options import ServiceLimits, ServiceOptions

MIN_ENROL_SECONDS = 10.0
"""Shortest time in seconds between two rounds of enrolling: a round reads the folder's list."""


# Over 60 lines, as it has many options.
@click.command()
@click.argument("index", type=click.Path(path_type=Path))
@click.option(
    "--dataset",
    type=click.Path(path_type=Path),
    help="Dataset that jobs change.  [default: the one that INDEX was built from]",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; any but a loopback address needs --keys.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port to listen on; 0 is any free one.",
)
@click.option(
    "--keys",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File of keys, which `facetrove keys` writes; every request then needs one.",
)
@click.option(
    "--allow-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="Further name by which clients call the server, such as that of a proxy.",
)
@click.option(
    "--allow-folder",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder whose photos may be enrolled, with those in folders inside it.",
)
@click.option(
    "--enrol-folder",
    "enrol_folders",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder whose photos are enrolled when the server starts and then every --enrol-every; it "
    "is allowed as by --allow-folder.",
)
@click.option(
    "--enrol-every",
    type=Duration(MIN_ENROL_SECONDS),
    default="15m",
    show_default=True,
    help="Time from one round of --enrol-folder to the next, such as 90s, 15m or 6h.",
)
@click.option(
    "--uploads",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder in which photos that are sent in to be enrolled are kept.  [default: none may be]",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the jobs and of the audit log.  [default: INDEX.service]",
)
@click.option(
    "--audit",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File of the audit log.  [default: audit.jsonl in the state's folder]",
)
@click.option(
    "--watch-hook",
    metavar="URL",
    help="Address that is told of new matches of watches, by signed requests.  [default: none is]",
)
@click.option(
    "--watch-hook-secret",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File with the secret by which requests to --watch-hook are signed.",
)
@click.option(
    "--read-only", is_flag=True, help="Only answer searches: no jobs, and nothing is written."
)
@click.option("--open", "opens", is_flag=True, help="Open the server's page in the browser.")
@limit_options
@device_option
@json_option
def serve(
    index: Path,
    dataset: Path | None,
    host: str,
    port: int,
    keys: Path | None,
    allowed_hosts: tuple[str, ...],
    folders: tuple[Path, ...],
    enrol_folders: tuple[Path, ...],
    enrol_every: float,
    uploads: Path | None,
    state: Path | None,
    audit: Path | None,
    watch_hook: str | None,
    watch_hook_secret: Path | None,
    read_only: bool,
    opens: bool,
    limits: ServiceLimits,
    device: Device,
    as_json: bool,
) -> None:
    """Answer searches in INDEX over HTTP, until Ctrl-C.

    The address is printed when the server answers. On a loopback address, which only this machine
    can reach, no key is needed. A browser finds a page there, to search, to name people and to add
    photos; /docs describes all operations for programs, and docs/service.md has examples.

    \b
    Examples:
      facetrove serve faces.index
      facetrove serve faces.index --allow-folder ~/Pictures --uploads uploads
      facetrove serve faces.index --host 0.0.0.0 --keys keys.toml
    """
    require_installed()
    _prepare_process()
    from facetrove.service.server import run_server

    options = ServiceOptions(
        index=index,
        dataset=dataset,
        host=host,
        port=port,
        keys=keys,
        allowed_hosts=allowed_hosts,
        folders=(*folders, *enrol_folders),
        enrol_folders=enrol_folders,
        enrol_every=enrol_every,
        uploads=uploads,
        state=state,
        audit=audit,
        watch_hook=watch_hook,
        watch_hook_secret=watch_hook_secret,
        read_only=read_only,
        device=device,
        limits=limits,
    )
    run_server(options, on_ready=partial(_tell, index, opens=opens, as_json=as_json))


def _prepare_process() -> None:
    """Set what the libraries of this process, which is the server's own, go by."""
    # FAISS's threads would keep the cores that the event loop and the networks need, waiting for
    # each other. Set before FAISS is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # Libraries warn of nothing that an operator could act on; our own errors are told.
    logging.basicConfig(level=logging.ERROR, format="facetrove: %(message)s", stream=sys.stderr)


def _tell(index: Path, address: str, *, opens: bool, as_json: bool) -> None:
    if as_json:
        print_json({"index": str(index), "address": address})
    else:
        click.echo(f"serving {printable(str(index))} at {address} (Ctrl-C ends it)")
    if opens:
        webbrowser.open(address)


def require_installed() -> None:
    """Raise WrongUsageError unless the packages of the extra `serve` are installed."""
    missing = [
        name for name in ("fastapi", "uvicorn", "uvloop", "httpx") if find_spec(name) is None
    ]
    if missing:
        raise WrongUsageError(
            f"serving needs {', '.join(missing)}; install what it needs by pip install fastapi "
            "uvicorn uvloop httptools python-multipart prometheus-client httpx"
        )
