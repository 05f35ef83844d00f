"""`facetrove`: the table of its commands, and how it ends."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from faces.core.errors import FaceTroveError, WrongUsageError
from facetrove.cli.lazy_group import LazyCommand, LazyGroup
from facetrove.cli.text import printable

EXIT_FAILED, EXIT_WRONG_USAGE, EXIT_INTERRUPTED = 1, 2, 130

COMMANDS = {
    "calibrate": LazyCommand("calibrate:calibrate", "Measure what similarities mean in an index."),
    "compact": LazyCommand("compact:compact", "Make one segment of all of an index."),
    "compare": LazyCommand("compare:compare", "Say whether two photos show one person."),
    "delete": LazyCommand("delete:delete", "Delete faces; no search finds them any more."),
    "embed": LazyCommand("embed:embed", "Find and embed the faces of photos.", quiet=True),
    "evaluate": LazyCommand(
        "evaluate:evaluate", "Measure how well a model and an index do on your photos."
    ),
    "import": LazyCommand(
        "import_store:import_store",
        "Take over embeddings of deepface or face_recognition.",
        quiet=True,
    ),
    "index": LazyCommand("index:index", "Build the index of a dataset, or bring it up to date."),
    "info": LazyCommand("info:info", "Say what is in a dataset or an index."),
    "models": LazyCommand(
        "models:models", "List the models: licences, accuracy, speed, and what is here."
    ),
    "purge": LazyCommand("purge:purge", "Remove deleted faces from every byte, with a report."),
    "search": LazyCommand("search:search", "Find the faces most like those in a photo."),
    "verify": LazyCommand("verify:verify", "Check every byte of an index."),
}


@click.group(
    cls=LazyGroup,
    lazy_commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="facetrove", message="%(prog)s %(version)s")
def cli() -> None:
    """Find faces in a photo collection.

    \b
    1. facetrove embed ~/Pictures faces.dataset   read the photos, find and embed the faces
    2. facetrove index faces.dataset faces.index  build the index
    3. facetrove search faces.index me.jpg        find the faces most like those in a photo
    """


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    try:
        cli.main(prog_name="facetrove", standalone_mode=False)
    except click.exceptions.Abort:
        kept = "; finished work is kept, run the same command again to continue"
        _fail("stopped" + (kept if sys.argv[1:2] == ["embed"] else ""), EXIT_INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except WrongUsageError as error:
        _fail(str(error), EXIT_WRONG_USAGE)
    except FaceTroveError as error:
        _fail(str(error), EXIT_FAILED)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    except MemoryError:
        _fail(
            "there is not enough memory; close other programs, or use fewer --workers", EXIT_FAILED
        )
    except OSError as error:  # a full disk, no permission: the message names the file
        _fail(str(error), EXIT_FAILED)


def _fail(message: str, exit_code: int) -> NoReturn:
    click.echo(f"facetrove: error: {printable(' '.join(message.split()))}", err=True)
    sys.exit(exit_code)
