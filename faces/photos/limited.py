"""Read and decode photos under limits that hold whatever a decoder does.

Each process that reads photos has two workers of `faces.core.limited`: one decodes, one reads
archives and addresses and keeps the tables of archives. So a photo that ends the first one costs no
archive that is open.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import PIL.Image

from faces.core.channel import Buffer, Message
from faces.core.errors import WrongUsageError
from faces.core.limited import (
    Answer,
    LimitedWorker,
    OverLimitError,
    RequestFailedError,
    RequestLimits,
    WorkerDiedError,
    fork_server,
    process_server,
)
from faces.core.settings import Access, PhotoLimits, SourceLimits
from faces.photos.access import require_allowed
from faces.photos.archives import split_member_url
from faces.photos.decoding import JpegDetail, Photo, decode_plain_jpeg
from faces.photos.headers import is_plain_jpeg
from faces.photos.reading import read_photo
from faces.photos.rejection import PartlyRead, PhotoRejectedError, RejectReason
from faces.photos.uris import is_url, photo_uri, unescape_url, url_scheme

_PRELOADED = ("faces.photos.limited_handlers",)

_reader = LimitedWorker(partial(process_server, _PRELOADED))


def new_decoder() -> LimitedWorker:
    """Return a further process that decodes photos, for a program that decodes several at once."""
    return LimitedWorker(partial(process_server, _PRELOADED))


_decoder = new_decoder()


@dataclass(frozen=True)
class ReadingRules:
    """The rules by which a job reads photos.

    Attributes:
        limits: limits on photos.
        source_limits: limits on the archives that photos are in.
        access: addresses that may be read.
    """

    limits: PhotoLimits = field(default_factory=PhotoLimits)
    source_limits: SourceLimits = field(default_factory=SourceLimits)
    access: Access = field(default_factory=Access)


def prepare_early() -> None:
    """Fork the server of this process's workers now, before the process starts threads."""
    fork_server(_PRELOADED)
    _is_prepared.add(os.getpid())


def read_limited(uri: str, rules: ReadingRules = ReadingRules()) -> Buffer:
    """Read a photo's content under limits; see `faces.photos.reading.read_photo`.

    Args:
        uri: the photo's uri.
        rules: the rules of the job.

    Raises:
        PhotoRejectedError: the photo cannot be read, must not be, or is over a limit.
        WrongUsageError: the package that the uri's scheme needs is not installed.
        MemoryError: memory ran out.
    """
    url = unescape_url(uri)
    limits = rules.limits
    # A file is copied, not unpacked; and "memory" exists in this process alone.
    if not is_url(url) or url_scheme(url) == "memory":
        return read_photo(uri, limits.max_bytes)
    try:
        require_allowed(url, rules.access)
    except WrongUsageError as error:
        raise PhotoRejectedError(RejectReason.READ_ERROR, str(error)) from error
    arguments = {
        "uri": uri,
        "max_bytes": limits.max_bytes,
        "source_limits": asdict(rules.source_limits),
        "access": asdict(rules.access),
    }
    try:
        _open_archive(url, arguments, rules)
        answer = _reader.call(
            f"{_PRELOADED[0]}:read",
            arguments,
            limits=RequestLimits(limits.photo_timeout, limits.max_memory + limits.max_bytes),
            retry=False,
        )
    except (OverLimitError, WorkerDiedError, RequestFailedError) as error:
        _raise_rejection(error)
    return answer.block


class _OpenArchive:
    """The archive that the reader opened last, and in which of its lives it did."""

    key: tuple[str, str, int] | None = None


def _open_archive(url: str, arguments: Mapping[str, Any], rules: ReadingRules) -> None:
    """Have the reader open a member's archive, which may take longer than reading a photo may."""
    member = split_member_url(url)
    if member is None:
        return
    if _OpenArchive.key == (member.scheme, member.target, _reader.num_started):
        return
    limits = rules.source_limits
    try:
        _reader.call(
            f"{_PRELOADED[0]}:open_archive",
            arguments,
            limits=RequestLimits(limits.list_timeout, limits.list_memory),
        )
    except OverLimitError as error:
        raise PhotoRejectedError(
            RejectReason.READ_ERROR, f"{member.target} takes too much {error.limit} to open"
        ) from error
    _OpenArchive.key = (member.scheme, member.target, _reader.num_started)


def decode_limited(
    content: Buffer,
    *,
    limits: PhotoLimits = PhotoLimits(),
    reduction_for: Callable[[int], int] = lambda _: 1,
    apart: bool = False,
    decoder: LimitedWorker | None = None,
) -> Photo:
    """Decode a photo under limits; see `faces.photos.decoding.decode_photo`.

    A JPEG without anything unusual in it is decoded in this process, which is faster by a half for
    the smallest ones; see `faces.photos.headers.is_plain_jpeg`. A process that
    `prepare_early` has prepared is under the limits itself while it does so.

    Args:
        content: content of the photo file.
        limits: limits on the photo.
        reduction_for: function that gets the photo's longer side in pixels and returns the
            reduction to decode at.
        apart: whether to decode in another process in any case.
        decoder: the process to decode in, from `new_decoder`; None: the one of this process, which
            decodes one photo at a time.

    Raises:
        PhotoRejectedError: the photo cannot be decoded, or is over a limit.
    """
    if not apart and isinstance(content, bytes):
        max_pixels = min(_MAX_HERE_PIXELS, PIL.Image.MAX_IMAGE_PIXELS or _MAX_HERE_PIXELS)
        if is_plain_jpeg(content, max_pixels=max_pixels, seconds=limits.photo_timeout):
            with suppress(MemoryError), _under_limits(limits):
                return _decode_here(content, limits, reduction_for)
    decoder = decoder or _decoder
    answer = _ask_decoder(
        decoder,
        "decode",
        {"limits": asdict(limits)},
        content,
        limits=limits,
        on_question=lambda question: {"reduction": reduction_for(question["longer_side"])},
    )
    return _photo(decoder, answer, content, limits)


_MAX_HERE_PIXELS = 50_000_000
"""Maximum number of pixels of a JPEG that is decoded in the process that asks."""

_is_prepared: set[int] = set()
"""The process id, if `prepare_early` was called in this process: one of our own workers, which may
be ended when a photo takes too long."""


@contextmanager
def _under_limits(limits: PhotoLimits) -> Iterator[None]:
    """Limit processor time in one of our own worker processes, while the context is open.

    The signal ends the process. The photo is then tried again apart, like any on which a worker
    died (`beam_jobs.in_flight`), and gets its reason there.
    """
    if os.getpid() not in _is_prepared:
        yield
        return
    signal.setitimer(signal.ITIMER_PROF, max(limits.photo_timeout, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _decode_here(content: bytes, limits: PhotoLimits, reduction_for: Callable[[int], int]) -> Photo:
    started = time.thread_time()
    photo = decode_plain_jpeg(content, limits=limits, reduction_for=reduction_for)
    photo.seconds = time.thread_time() - started
    return photo


def _ask_decoder(
    decoder: LimitedWorker,
    name: str,
    arguments: Mapping[str, Any],
    content: Buffer,
    *,
    limits: PhotoLimits,
    on_question: Callable[[Message], Message | None] = lambda _: None,
) -> Answer:
    try:
        return decoder.call(
            f"{_PRELOADED[0]}:{name}",
            arguments,
            content,
            limits=RequestLimits(limits.photo_timeout, limits.max_memory),
            on_question=on_question,
        )
    except (OverLimitError, WorkerDiedError, RequestFailedError) as error:
        _raise_rejection(error)


def _photo(decoder: LimitedWorker, answer: Answer, content: Buffer, limits: PhotoLimits) -> Photo:
    message = answer.message
    height, width, _ = message["shape"]
    image = np.frombuffer(answer.block, np.uint8).reshape(height, width, 3)
    left = replace(limits, photo_timeout=max(0.0, limits.photo_timeout - answer.seconds))
    detail = message["detail"] and JpegDetail(*message["detail"])
    return Photo(
        image,
        reduction=message["reduction"],
        size=(message["size"][0], message["size"][1]),
        detail=detail,
        decode=partial(_decode_again, decoder, content, detail, left) if detail else None,
        seconds=answer.seconds,
        partly_read=tuple(map(PartlyRead, message["partly_read"])),
    )


def _decode_again(
    decoder: LimitedWorker,
    content: Buffer,
    detail: JpegDetail,
    limits: PhotoLimits,
    reduction: int,
) -> Photo:
    arguments = {"detail": detail, "reduction": reduction}
    answer = _ask_decoder(decoder, "decode_again", arguments, content, limits=limits)
    return _photo(decoder, answer, content, limits)


def _raise_rejection(error: Exception) -> NoReturn:
    """Raise the rejection of a photo, for what a worker made of it."""
    if isinstance(error, OverLimitError):
        reason = RejectReason.OUT_OF_TIME if error.limit == "time" else RejectReason.OUT_OF_MEMORY
        raise PhotoRejectedError(reason, str(error)) from error
    if isinstance(error, WorkerDiedError):
        # The system kills when memory is short, which says nothing about the photo.
        killed = error.signal == signal.SIGKILL
        reason = RejectReason.NOT_PROCESSED if killed else RejectReason.CRASHED
        raise PhotoRejectedError(reason, str(error)) from error
    assert isinstance(error, RequestFailedError), "there is no other"
    if error.reason is None or error.kind != PhotoRejectedError.__name__:
        # Other errors have a reason too, such as those of SSL.
        raise PhotoRejectedError(RejectReason.CORRUPT, str(error)) from error
    known = RejectReason(error.reason)
    raise PhotoRejectedError(known, error.text.removeprefix(f"{known.value}: ")) from error


def open_photo(path: Path, reduction_for: Callable[[int], int] = lambda _: 1) -> Photo:
    """Read and decode one photo that a user named, under limits.

    Args:
        path: path of the photo.
        reduction_for: function that chooses the reduction, see `decode_limited`.

    Raises:
        WrongUsageError: the file does not exist or is not a usable photo; the message says why.
    """
    if not path.is_file():
        problem = "is not a file" if path.exists() else "does not exist"
        raise WrongUsageError(f"{path} {problem}; name a photo")
    try:
        return decode_limited(read_photo(photo_uri(path)), reduction_for=reduction_for)
    except PhotoRejectedError as error:
        raise WrongUsageError(f"{path} cannot be used as a photo ({error})") from error
