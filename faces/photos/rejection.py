"""Why a photo has no result."""

from __future__ import annotations

from enum import StrEnum


class RejectReason(StrEnum):
    """Why a photo has no result. A closed set: it is stored in datasets."""

    READ_ERROR = "read_error"  # the file could not be opened or read
    CHANGED = "changed_while_read"  # it was written to meanwhile
    EMPTY_FILE = "empty_file"  # zero bytes
    UNSUPPORTED_FORMAT = "unsupported_format"  # not an image format that we decode
    TRUNCATED = "truncated"  # an image of a known format that ends early
    DAMAGED = "corrupt"  # an image of a known format, corrupt in another way
    TOO_LARGE = "too_large"  # over the limit of bytes or pixels
    TOO_SMALL = "too_small"  # its shorter side is under MIN_SIDE pixels
    NOT_PROCESSED = "not_processed"  # no memory for it, or the networks failed on it alone
    CRASHED = "crashed"  # worker processes died on it, again and again


TRANSIENT_REASONS = (RejectReason.READ_ERROR, RejectReason.CHANGED, RejectReason.NOT_PROCESSED)
"""These may have passed when the job runs again."""


class PhotoRejectedError(Exception):
    """A photo that cannot become an image.

    Not a FaceTroveError: in a job it becomes a row of the dataset, and only a photo that a
    person named becomes a message.
    """

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
