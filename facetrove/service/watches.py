"""The watches of a service: it looks at each version that the gallery opens, in a thread."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from faces.core.errors import FaceTroveError
from faces.dataset.deletions import read_deletions
from facetrove.service.gallery import Gallery
from facetrove.service.metrics import Metrics
from facetrove.service.options import ServiceLimits
from facetrove.service.refusals import RefusedError
from facetrove.service.watch_purge import COUNTS, forget_purged
from facetrove.service.watch_records import NewWatch, StoredMatch, Watch
from facetrove.service.watch_store import WatchStore
from facetrove.service.watching import contract_text, look_at, purges_of
from search.searcher import FaceSearcher

LOG = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 15.0
"""Seconds after which a stream without matches sends a comment, so that proxies keep it open."""

FAILED_SECONDS = 10.0
"""Seconds after which a look that failed is tried again."""

PAGE = 100
"""Number of matches that a stream reads at a time."""


class Watches:
    """Compares new faces with watches as long as `run` does.

    Args:
        store: the watches.
        gallery: the index in force.
        dataset: path of the dataset, whose deletions say what a purge has removed.
        limits: limits on requests.
        metrics: measures.
        on_matches: called in the event loop when there are new matches, where there is a hook;
            None: there is none.
        seconds: seconds between two looks whether the gallery has another version.
    """

    def __init__(
        self,
        store: WatchStore,
        gallery: Gallery,
        dataset: Path,
        *,
        limits: ServiceLimits,
        metrics: Metrics,
        on_matches: Callable[[], None] | None,
        seconds: float,
    ) -> None:
        self.store = store
        self._gallery = gallery
        self._dataset = dataset
        self._limits = limits
        self._metrics = metrics
        self._on_matches = on_matches
        self._seconds = seconds
        self._looking = threading.Lock()
        self._seen: bytes | None = None
        self._removed: Counter[str] = Counter()
        self._changed = asyncio.Condition()
        self._num_changes = 0

    async def run(self) -> None:
        """Look at each version that the gallery opens, until this is cancelled."""
        while True:
            seconds = self._seconds
            try:
                if await asyncio.to_thread(self._look):
                    await self._tell()
            except (FaceTroveError, OSError) as error:
                LOG.error("new faces cannot be compared: %s", type(error).__name__)
                seconds = FAILED_SECONDS
            except Exception as error:  # whose message may name a person
                LOG.error("a look for new faces failed: %s", type(error).__name__)
                seconds = FAILED_SECONDS
            await asyncio.sleep(seconds)

    def _look(self) -> bool:
        """Look at the version in force if there are watches; return whether there are matches."""
        with self._looking:
            searcher = self._gallery.current
            is_due = searcher.line != self._seen and bool(self.store.newest(1))
            return is_due and self._look_at(searcher)

    def _look_at(self, searcher: FaceSearcher) -> bool:
        """Look at a version; the caller holds `_looking`."""
        purged, before = purges_of(searcher.manifest), self.store.last_look()[1]
        same_dataset = before is not None and before.split(" ")[0] == purged.split(" ")[0]
        if same_dataset and before != purged:  # by whatever process
            self._forget(searcher, ())
        kept = self._limits.max_watch_matches
        look = look_at(searcher, self.store, max_matches=kept)
        tells = self._on_matches is not None
        found = self.store.record(look, max_matches=kept, tells=tells)
        self._seen = searcher.line
        self._metrics.watch_matches.inc(sum(map(len, look.matches.values())))
        self._metrics.watches.set(len(look.compared))
        return bool(found)

    async def add(self, new: NewWatch) -> Watch:
        """Make a watch, for which all faces of the version in force count as known.

        Raises:
            RefusedError: there are too many, the idempotency key was that of another request, or
                the models of the index have changed since the embedding was made.
        """
        watch, has_matches = await asyncio.to_thread(self._add, new)
        if has_matches:
            await self._tell()
        return watch

    def _add(self, new: NewWatch) -> tuple[Watch, bool]:
        with self._looking:
            same = self.store.same_request(new.owner, new.idempotency_key, new.digest)
            if same is not None:
                return same, False
            self.store.require_room(self._limits.max_watches)
            searcher = self._gallery.current
            if new.contract != contract_text(searcher.contract):
                raise RefusedError(
                    409, "contract_mismatch", "the index has other models now; send the same again"
                )
            has_matches = searcher.line != self._seen and self._look_at(searcher)
            watch = self.store.add(new)
            self._metrics.watches.inc()
            return watch, has_matches

    async def delete(self, watch: Watch) -> None:
        """Remove a watch and its matches; streams of it end."""
        await asyncio.to_thread(self._delete, watch)
        await self._tell()

    def _delete(self, watch: Watch) -> None:
        with self._looking:
            self.store.delete([watch])
            left = self.store.newest()
            self._metrics.watches.set(len(left))
            if not left:
                self._seen = None  # no face is known any more

    def forget(self, names: Sequence[str]) -> dict[str, int]:
        """Remove all that watches hold of faces that a purge has removed; see `forget_purged`.

        It may be called in any thread; streams learn of it with the next version.

        Returns:
            What was removed since the last call: looks remove it too, as soon as the index follows
            a purge.
        """
        with self._looking:
            self._gallery.refresh()
            self._forget(self._gallery.current, names)
            self._metrics.watches.set(len(self.store.newest()))
            counts, self._removed = self._removed, Counter()
            return {name: counts[name] for name in COUNTS}

    def _forget(self, searcher: FaceSearcher, names: Sequence[str]) -> None:
        self._seen = None
        deletions = read_deletions(self._dataset)
        self._removed.update(forget_purged(self.store, searcher.snapshot, deletions, names))

    async def follow(self, watch_id: str, after: int) -> AsyncIterator[list[StoredMatch] | None]:
        """Yield the matches of a watch after one as they come, until the watch is deleted.

        None is yielded where nothing has come for `KEEP_ALIVE_SECONDS`.
        """
        while True:
            seen = self._num_changes
            watch = await asyncio.to_thread(self.store.find, watch_id)
            if watch is None:
                return
            page = await asyncio.to_thread(self.store.matches, watch, after=after, limit=PAGE)
            if page:
                after = page[-1].match_id
                yield page
                continue
            try:
                async with asyncio.timeout(KEEP_ALIVE_SECONDS), self._changed:
                    await self._changed.wait_for(lambda: self._num_changes != seen)  # noqa: B023
            except TimeoutError:
                yield None

    async def _tell(self) -> None:
        if self._on_matches is not None:
            self._on_matches()
        async with self._changed:
            self._num_changes += 1
            self._changed.notify_all()
