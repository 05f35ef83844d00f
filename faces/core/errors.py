"""The errors that facetrove raises on purpose: one small tree with one base class.

Each message says in one line what is wrong, which value is wrong, what was expected and what to do
next; the command line prints the message unchanged.
"""

from __future__ import annotations

from pathlib import Path


class FaceTroveError(Exception):
    """An error that the user can act on; the command line exits with status 1."""


class WrongUsageError(FaceTroveError):
    """An error in the call itself, such as a missing folder or a k that is too large.

    The command line exits with status 2.
    """


class ContradictionError(WrongUsageError):
    """An error about a decision that what was decided before stands against."""


class OlderFormatError(WrongUsageError):
    """An error about a dataset or index of an older format, which an upgrade carries over."""

    @classmethod
    def of(cls, path: Path, found: int, current: int) -> OlderFormatError:
        """Return the error of a folder with format version `found` where `current` is read."""
        return cls(
            f"{path} has format version {found}, and this facetrove reads {current}; carry it over "
            f"with `facetrove upgrade {path}`"
        )


class ContractMismatchError(FaceTroveError):
    """An error raised before embeddings of different model contracts are mixed or compared."""


class CorruptFileError(FaceTroveError):
    """An error about a file that is missing, truncated, altered or of an unsupported format."""


class MissingFileError(CorruptFileError):
    """An error about a file of a dataset or an index that is not there."""


class LinkFoundError(CorruptFileError):
    """An error about a link inside a dataset or an index, where none is followed or removed."""


class ModelUnavailableError(FaceTroveError):
    """An error about model weights that cannot be obtained or are not the expected ones."""


class BusyError(FaceTroveError):
    """An error raised because another process is writing the same dataset or index."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the error's class name if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def cause_of(error: BaseException) -> str:
    """Return the cause of an error in one line.

    The cause is the operating system's message for an OSError that has one, else the first line of
    the error's own message.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return first_line(error)
