"""The command `facetrove`: the table of its subcommands, its error messages and exit codes."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from faces.core.errors import FaceTroveError, WrongUsageError
from facetrove.cli.lazy_group import LazyCommand, LazyGroup
from facetrove.cli.text import printable

EXIT_FAILED, EXIT_WRONG_USAGE, EXIT_INTERRUPTED = 1, 2, 130
"""Exit codes: 2 is also click's for wrong usage, and 130 is a shell's for SIGINT (128 + 2)."""

COMMANDS = {
    "allow": LazyCommand("allow:allow", "Let faces in again that were kept away."),
    "calibrate": LazyCommand(
        "calibrate:calibrate", "Measure the false-positive rate of an index by similarity."
    ),
    "columns": LazyCommand(
        "columns:columns", "List, remove or rename the columns of photo lists in a dataset."
    ),
    "compact": LazyCommand("compact:compact", "Rewrite an index as one segment."),
    "compare": LazyCommand("compare:compare", "Say whether two photos show the same person."),
    "delete": LazyCommand("delete:delete", "Delete faces from a dataset and its indexes."),
    "drop": LazyCommand("drop:drop", "Drop every photo from a dataset whose file is gone."),
    "embed": LazyCommand("embed:embed", "Find and embed the faces of photos.", quiet=True),
    "evaluate": LazyCommand(
        "evaluate:evaluate", "Measure the error rates of a model and an index on your photos."
    ),
    "export": LazyCommand(
        "export:export", "Send the faces of an index to a vector database.", quiet=True
    ),
    "held": LazyCommand("held:held", "Say what is held about the person in a portrait."),
    "import": LazyCommand(
        "import_store:import_store",
        "Import embeddings of deepface or face_recognition into a dataset.",
        quiet=True,
    ),
    "index": LazyCommand("index:index", "Build the index of a dataset, or bring it up to date."),
    "info": LazyCommand("info:info", "Describe a dataset or an index."),
    "join": LazyCommand(
        "join:join", "Find the nearest faces of all faces of a collection.", quiet=True
    ),
    "keys": LazyCommand("keys:keys", "Add, list or remove keys of the HTTP service."),
    "measure": LazyCommand(
        "measure:measure", "Have a classifier say what the faces of a dataset show.", quiet=True
    ),
    "models": LazyCommand(
        "models:models", "List the models with their licences, accuracy and speed."
    ),
    "people": LazyCommand(
        "people:people", "Say who is who: faces into people, names, corrections."
    ),
    "purge": LazyCommand("purge:purge", "Remove deleted faces from all files, with a report."),
    "relocate": LazyCommand("relocate:relocate", "Say that photos of a dataset have moved."),
    "search": LazyCommand("search:search", "Find the faces most like those in a photo."),
    "serve": LazyCommand("serve:serve", "Answer searches over HTTP."),
    "train": LazyCommand("train:train", "Train a network of your own on the faces of a dataset."),
    "undo": LazyCommand("undo:undo", "List what can be taken back, or take it back."),
    "upgrade": LazyCommand(
        "upgrade:upgrade", "Carry datasets and indexes of older versions over to this one."
    ),
    "verify": LazyCommand("verify:verify", "Check that an index is intact."),
}
"""The commands by name, in the order of the help."""


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
    """Run the command line, and end with exit code 0 (done), 1 (failed), 2 (wrong usage) or 130.

    Exit code 130 means interrupted. An error is printed to stderr as one line.
    """
    try:
        cli.main(prog_name="facetrove", standalone_mode=False)
    except click.exceptions.Abort:
        kept = "; finished work is kept, run the same command again to continue"
        goes_on = sys.argv[1:2] in (["embed"], ["export"], ["measure"], ["train"])
        _fail("stopped" + (kept if goes_on else ""), EXIT_INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except WrongUsageError as error:
        _fail(str(error), EXIT_WRONG_USAGE)
    except FaceTroveError as error:
        _fail(str(error), EXIT_FAILED)
    except BrokenPipeError:  # the reader of our output has closed it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    except MemoryError:
        _fail(
            "there is not enough memory; close other programs, or use fewer --workers", EXIT_FAILED
        )
    except OSError as error:  # such as a full disk; its message names the file
        _fail(str(error), EXIT_FAILED)


def _fail(message: str, exit_code: int) -> NoReturn:
    """Print an error message as one line to stderr, and end with an exit code."""
    click.echo(f"facetrove: error: {printable(' '.join(message.split()))}", err=True)
    sys.exit(exit_code)
