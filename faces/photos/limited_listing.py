"""Read photo lists and the tables of archives in a process of its own, under limits."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, TypeVar

import pyarrow as pa

from faces.core.channel import Channel, Message
from faces.core.errors import CorruptFileError, WrongUsageError
from faces.core.limited import (
    LimitedWorker,
    OverLimitError,
    RequestFailedError,
    RequestLimits,
    WorkerDiedError,
    process_server,
)
from faces.core.progress import OnProgress, Progress, ignore_progress
from faces.core.settings import Access, SourceLimits
from faces.photos.access import access_from
from faces.photos.archive_listing import ArchivePhotos, archive_photos
from faces.photos.archives import MemberUrl
from faces.photos.list_values import DateOrder
from faces.photos.lists import read_photo_list
from faces.photos.passed_over import Exclusion
from faces.photos.uris import url_scheme

REPORT_SECONDS = 0.5
"""Seconds between two reports of progress."""

_HERE = "faces.photos.limited_listing"

PRELOADED = (_HERE, "faces.photos.limited_handlers")
"""Modules that the server of this process's workers imports, if it is started for a listing."""

_T = TypeVar("_T")


class SourceReader:
    """What reads the archives and photo lists of one listing, in a process that ends with it.

    Args:
        limits: limits on each source.
        access: the addresses that photo lists may name.
        on_progress: called now and then with the number of photos and members read so far.
        rename: names that columns of photo lists get instead of those in the files, by these.
        exclusion: what is excluded from archives.
        date_order: what dates in photo lists begin with where the list does not say it.
    """

    def __init__(
        self,
        limits: SourceLimits = SourceLimits(),
        access: Access = Access(),
        on_progress: OnProgress = ignore_progress,
        *,
        rename: Mapping[str, str] = MappingProxyType({}),
        exclusion: Exclusion = Exclusion(),
        date_order: DateOrder | None = None,
    ) -> None:
        self._limits = limits
        self._access = access
        self._rename = rename
        self.exclusion = exclusion
        self._date_order = date_order
        self._on_progress = on_progress
        self._num_listed = 0
        self._worker = LimitedWorker(partial(process_server, PRELOADED))
        self._last_report = time.monotonic()

    def __enter__(self) -> SourceReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the process, in which the tables of archives are."""
        self._worker.close()

    def archive_photos(self, url: MemberUrl, mtime_ns: int) -> ArchivePhotos:
        """List the photos of an archive; see `archive_listing.archive_photos`.

        Raises:
            WrongUsageError: the archive cannot be opened.
            CorruptFileError: the archive is corrupt, or over a limit.
        """
        if url_scheme(url.target) == "memory":  # which exists in this process alone
            return archive_photos(url, mtime_ns, self._limits, self.exclusion, self._report)
        exclude = list(self.exclusion.patterns)
        arguments = {"url": url, "mtime_ns": mtime_ns, "exclude": exclude}
        return ArchivePhotos(*self._asked("read_archive", arguments, url.target))

    def photo_list(self, path: Path) -> pa.Table:
        """Read a photo list; see `lists.read_photo_list`.

        Raises:
            WrongUsageError: the list cannot be used as it is, or is over a limit.
            CorruptFileError: the Parquet file is corrupt.
        """
        arguments = {
            "path": os.path.abspath(path),
            "access": asdict(self._access),
            "rename": dict(self._rename),
            "date_order": self._date_order,
        }
        (table,) = self._asked("read_list", arguments, str(path))
        return table

    def _asked(self, name: str, arguments: dict[str, Any], source: str) -> list[pa.Table]:
        limits = self._limits
        try:
            answer = self._worker.call(
                f"{_HERE}:{name}",
                {**arguments, "limits": asdict(limits)},
                limits=RequestLimits(limits.list_timeout, limits.list_memory),
                on_question=self._heard,
            )
        except OverLimitError as error:
            is_time = error.limit == "time"
            limit = (
                f"{limits.list_timeout:g} seconds" if is_time else f"{limits.list_memory:,} bytes"
            )
            option = "--list-timeout" if is_time else "--list-memory"
            raise WrongUsageError(
                f"{source} takes over {limit} to read ({option}); divide it, or raise the limit"
            ) from error
        except (WorkerDiedError, RequestFailedError) as error:
            raise CorruptFileError(
                f"{source} cannot be read ({error}); copy it again or create it again"
            ) from error
        block, tables = pa.BufferReader(pa.py_buffer(answer.block)), []
        while block.tell() < block.size():
            with pa.ipc.open_stream(block) as stream:
                tables.append(stream.read_all())
        return tables

    def _heard(self, message: Message) -> None:
        self._report(message["entries"])

    def counted(self, items: Iterator[_T]) -> Iterator[_T]:
        """Yield the items of an iterator, and report now and then how many came."""
        for number, item in enumerate(items, 1):
            if number % 1000 == 0:
                self._report(number)
            yield item

    def add_listed(self, count: int) -> None:
        """Count the photos of a source that has been listed."""
        self._num_listed += count

    def _report(self, entries: int) -> None:
        if time.monotonic() - self._last_report >= REPORT_SECONDS:
            self._last_report = time.monotonic()
            self._on_progress(Progress("listing", self._num_listed + entries, None, "photos"))


def read_archive(channel: Channel, arguments: Message, _: bytes) -> tuple[Message, Any]:
    """List the photos of an archive: what the other process does."""
    found = archive_photos(
        MemberUrl(*arguments["url"]),
        arguments["mtime_ns"],
        SourceLimits(**arguments["limits"]),
        Exclusion(tuple(arguments["exclude"])),
        lambda entries: channel.send({"entries": entries}),
    )
    return {}, _as_streams(*found)


def read_list(channel: Channel, arguments: Message, _: bytes) -> tuple[Message, Any]:
    """Read a photo list: what the other process does."""
    table = read_photo_list(
        Path(arguments["path"]),
        arguments["rename"],
        limits=SourceLimits(**arguments["limits"]),
        access=access_from(arguments["access"]),
        date_order=arguments["date_order"],
        on_entries=lambda entries: channel.send({"entries": entries}),
    )
    return {}, _as_streams(table)


def _as_streams(*tables: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    for table in tables:
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
    return sink.getvalue()
