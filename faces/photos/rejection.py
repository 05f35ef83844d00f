"""The reasons for which photos are rejected, or read only in part."""

from __future__ import annotations

from enum import StrEnum


class RejectReason(StrEnum):
    """The reason why a photo was rejected. Datasets store the values, so they must not change."""

    READ_ERROR = "read_error"  # the file could not be opened or read
    CHANGED = "changed_while_read"  # the file was written to while it was read
    EMPTY_FILE = "empty_file"  # the file has zero bytes
    UNSUPPORTED_FORMAT = "unsupported_format"  # not an image in one of PHOTO_FORMATS
    TRUNCATED = "truncated"  # an image in one of PHOTO_FORMATS whose data end early
    CORRUPT = "corrupt"  # an image in one of PHOTO_FORMATS, corrupt in another way
    TOO_LARGE = "too_large"  # over a limit of bytes, pixels, decoding memory or JPEG scans
    TOO_SMALL = "too_small"  # the shorter side is under MIN_SIDE pixels
    OUT_OF_TIME = "too_expensive:photo-timeout"  # took over the limit of processor time
    OUT_OF_MEMORY = "too_expensive:max-memory"  # took over the limit of memory
    NOT_PROCESSED = "not_processed"  # memory ran out, or the networks failed on this photo alone
    CRASHED = "crashed"  # worker processes crashed on it repeatedly: quarantined


class PartlyRead(StrEnum):
    """What of a photo's file was not looked at. Datasets store the values, so they must not change.

    Such a photo is not rejected.
    """

    CUT_SHORT = "cut_short"  # the file ends early, and little of the picture is missing
    FURTHER_PAGES = "further_pages"  # there are pages, pictures or frames behind the first


TRANSIENT_REASONS = (RejectReason.READ_ERROR, RejectReason.CHANGED, RejectReason.NOT_PROCESSED)
"""Transient reasons, which may no longer apply later: the next run tries such photos again."""


LIMIT_REASONS = (RejectReason.TOO_LARGE, RejectReason.OUT_OF_TIME, RejectReason.OUT_OF_MEMORY)
"""Reasons that name a limit: such photos are tried again when limits have changed."""


class PhotoRejectedError(Exception):
    """An error about a photo that cannot be read or decoded, with the reason of the rejection.

    This is not a FaceTroveError: a job stores the rejection as a row of the dataset, and only
    where a user named a single photo is it translated to a WrongUsageError.

    Attributes:
        reason: the reason that datasets store.
        detail: what exactly is wrong, in words.
    """

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail
