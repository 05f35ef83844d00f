"""The errors facetrove raises on purpose: one small tree with one base.

Every message says what is wrong, with which value, what was expected and what to do
next, in one line: the command line prints it as it is.
"""


class FaceTroveError(Exception):
    """Something a person can act on. The command line exits 1."""


class WrongUsageError(FaceTroveError):
    """The call itself cannot be right: no such folder, k too large... The command line exits 2."""


class ContractMismatchError(FaceTroveError):
    """Embeddings made by different models were about to meet."""


class CorruptFileError(FaceTroveError):
    """A file of ours is missing, truncated, altered or of a format this version cannot read."""


class ModelUnavailableError(FaceTroveError):
    """The weights of a model cannot be had, or are not the ones expected."""


class BusyError(FaceTroveError):
    """Another process is writing the same dataset or index."""


def first_line(error: BaseException) -> str:
    """What an error of a library says, in one line: its name if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def cause_of(error: BaseException) -> str:
    """Why something failed, in one line: what the system says, or what the library says."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return first_line(error)
