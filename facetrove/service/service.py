"""The parts of a running service, which the operations share."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from faces.core.errors import FaceTroveError, WrongUsageError
from faces.core.kinds import is_dataset
from faces.core.storage import Folder
from facetrove.service.admission import Admission
from facetrove.service.audit import AuditLog
from facetrove.service.folders import require_allowed_folder
from facetrove.service.gallery import Gallery
from facetrove.service.hooks import Hook, HookSender
from facetrove.service.job_runner import JobRunner, task_of
from facetrove.service.jobs import JobStore
from facetrove.service.keys import KeyRing
from facetrove.service.metrics import Metrics
from facetrove.service.options import ServiceOptions
from facetrove.service.origins import Origins, is_loopback
from facetrove.service.people import ServedPeople
from facetrove.service.probing import Decoders, FaceFinder
from facetrove.service.refusals import HiddenPaths, RefusedError
from facetrove.service.schedule import Schedule
from facetrove.service.searching import Searches
from facetrove.service.thumbnails import Thumbnails
from facetrove.service.uploads import Uploads
from facetrove.service.watch_store import WatchStore
from facetrove.service.watches import Watches

LOG = logging.getLogger(__name__)


@dataclass
class Service:
    """The parts of a running service. Use `open`.

    Attributes:
        options: what it serves, and to whom.
        gallery: the index in force and its networks.
        dataset: path of the dataset; None: there is none here, so jobs are not possible.
        metrics: measures.
        admission: the room for requests.
        origins: names by which it may be called.
        keys: the keys; None: none are needed.
        audit: the audit log; None: there is none.
        hidden: paths that no answer names.
        decoders: what decodes photos.
        finder: finds faces in photos that are sent in.
        searches: looks faces up.
        thumbnails: cuts thumbnails.
        people: who is who; None: there is no dataset here.
        uploads: photos that are kept; None: none may be sent in.
        runner: runs jobs; None: there are no jobs.
        watches: compares new faces with watches; None: there are no jobs.
        hooks: tells the operator's address of new matches; None: there is none.
        schedule: enrols folders regularly; None: there are none.
    """

    options: ServiceOptions
    gallery: Gallery
    dataset: Path | None
    metrics: Metrics
    admission: Admission
    origins: Origins
    keys: KeyRing | None
    audit: AuditLog | None
    hidden: HiddenPaths
    decoders: Decoders
    finder: FaceFinder
    searches: Searches
    thumbnails: Thumbnails
    people: ServedPeople | None
    uploads: Uploads | None
    runner: JobRunner | None
    _closing: ExitStack
    watches: Watches | None = None
    hooks: HookSender | None = None
    schedule: Schedule | None = None
    _tasks: tuple[asyncio.Task[None], ...] = ()

    @classmethod
    def open(cls, options: ServiceOptions) -> Service:
        """Open what a service needs.

        Raises:
            WrongUsageError: there is no such index, keys are missing, or options do not fit.
            BusyError: another service has the same state's folder.
            CorruptFileError: a file is corrupt.
        """
        require_safe(options)
        limits = options.limits
        keys = None if options.keys is None else KeyRing(options.keys)
        if options.dataset is not None and not is_dataset(options.dataset):
            raise WrongUsageError(f"{options.dataset} is no dataset; name the index's dataset")
        gallery = Gallery(
            options.index,
            device=options.device,
            max_faces=limits.max_faces,
            dataset=options.dataset,
        )
        book = gallery.current.people_book
        dataset = None if book is None else book.dataset_dir
        with ExitStack() as closing:
            state = None if options.read_only else _leased_state(options, closing)
            service = cls._of_parts(options, gallery, dataset, keys, closing)
            if state is not None and dataset is not None:
                service._open_watches(state, dataset)
                service.runner = service._opened_runner(state, dataset)
            if options.watch_hook is not None:
                service._runner_for("--watch-hook")
            if options.enrol_folders:
                service.schedule = Schedule(
                    service._runner_for("--enrol-folder"),
                    options.enrol_folders,
                    seconds=options.enrol_every,
                    audit=service.audit,
                )
            service._closing = closing.pop_all()
        service.note_version()
        return service

    @classmethod
    def _of_parts(
        cls,
        options: ServiceOptions,
        gallery: Gallery,
        dataset: Path | None,
        keys: KeyRing | None,
        closing: ExitStack,
    ) -> Service:
        """Make the parts; what has to be closed again goes on a stack."""
        limits, metrics = options.limits, Metrics()
        audit = None if options.audit_path is None else AuditLog.open(options.audit_path)
        if audit is not None:
            closing.callback(audit.close)
        decoders = Decoders(limits.photo)
        closing.callback(decoders.close)
        finder = FaceFinder(gallery, decoders, limits, metrics)
        closing.callback(finder.close)
        searches = Searches(gallery, limits, metrics)
        closing.callback(searches.close)
        hidden = {
            "index": options.index,
            "dataset": dataset,
            "uploads folder": options.uploads,
            "state's folder": options.state_dir,
        }
        uploads = options.uploads
        return cls(
            options=options,
            gallery=gallery,
            dataset=dataset,
            metrics=metrics,
            admission=Admission(limits),
            origins=Origins.of(options.host, options.allowed_hosts, needs_keys=keys is not None),
            keys=keys,
            audit=audit,
            hidden=HiddenPaths.of(hidden),
            decoders=decoders,
            finder=finder,
            searches=searches,
            thumbnails=Thumbnails(decoders, limits, metrics),
            people=None if dataset is None else ServedPeople(gallery),
            uploads=None if uploads is None else Uploads(uploads, limits.max_stored_bytes),
            runner=None,
            _closing=closing,
        )

    def _open_watches(self, state: Folder, dataset: Path) -> None:
        store = WatchStore.open(state.path)
        self._closing.callback(store.close)
        options = self.options
        if options.watch_hook is not None:
            hook = Hook.of(options.watch_hook, options.watch_hook_secret)
            self.hooks = HookSender(store, hook, self.metrics)
        self.watches = Watches(
            store,
            self.gallery,
            dataset,
            limits=options.limits,
            metrics=self.metrics,
            on_matches=None if self.hooks is None else self.hooks.wake,
            seconds=options.refresh_seconds,
        )

    def _opened_runner(self, state: Folder, dataset: Path) -> JobRunner:
        store = JobStore.open(state.path)
        self._closing.callback(store.close)
        options = self.options
        return JobRunner(
            store,
            state,
            task_of(options.index, dataset, self.uploads, options.folders),
            gallery=self.gallery,
            uploads=self.uploads,
            thumbnails=self.thumbnails,
            metrics=self.metrics,
            max_jobs=options.limits.max_jobs,
            on_refreshed=self.note_version,
            on_purged=self.require_watches().forget,
        )

    def require_watches(self) -> Watches:
        """Return the watches.

        Raises:
            RefusedError: this service has none, as it has no jobs.
        """
        if self.watches is None:
            raise self._nothing_kept()
        return self.watches

    def require_runner(self) -> JobRunner:
        """Return the runner of jobs.

        Raises:
            RefusedError: this service has none.
        """
        if self.runner is None:
            raise self._nothing_kept()
        return self.runner

    def require_people(self) -> ServedPeople:
        """Return who is who.

        Raises:
            RefusedError: there is no dataset here.
        """
        if self.people is None:
            raise RefusedError(
                409, "no_dataset", "the dataset of the index is not here; start with --dataset"
            )
        return self.people

    def _runner_for(self, option: str) -> JobRunner:
        try:
            return self.require_runner()
        except RefusedError as error:
            raise WrongUsageError(f"{option} needs jobs, but {error.message}") from error

    def _nothing_kept(self) -> RefusedError:
        why = (
            "the server was started with --read-only"
            if self.options.read_only
            else "the dataset of the index is not here; start the server with --dataset"
        )
        return RefusedError(409, "no_jobs", f"this server changes nothing: {why}")

    async def refresh(self) -> bool:
        """Open the newest version of the index; return whether it is another one."""
        changed = await asyncio.to_thread(self.gallery.refresh)
        if changed:
            self.note_version()
        return changed

    def note_version(self) -> None:
        """Measure the version that is open."""
        manifest = self.gallery.current.manifest
        self.metrics.faces.set(manifest.num_faces)
        if manifest.version != self.metrics.version._value.get():
            self.metrics.refreshes.inc()
        self.metrics.version.set(manifest.version)

    def start(self) -> None:
        """Begin to follow the index and to run jobs, in the loop that is running."""
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(self._follow())]
        if self.runner is not None:
            tasks.append(loop.create_task(self.runner.run()))
        if self.watches is not None:
            tasks.append(loop.create_task(self.watches.run()))
        if self.schedule is not None:
            tasks.append(loop.create_task(self.schedule.run()))
        if self.hooks is not None:
            tasks.append(loop.create_task(self.hooks.run()))
        self._tasks = tuple(tasks)

    async def stop(self) -> None:
        """End the tasks, and close what is open."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        await asyncio.to_thread(self._closing.close)

    async def _follow(self) -> None:
        """Open new versions of the index as they come."""
        while True:
            await asyncio.sleep(self.options.refresh_seconds)
            try:
                await self.refresh()
            except (FaceTroveError, OSError) as error:
                LOG.error("the index cannot be opened again: %s", type(error).__name__)


def _leased_state(options: ServiceOptions, closing: ExitStack) -> Folder:
    """Return the state's folder, which is this service's until the stack is closed."""
    state = Folder(options.state_dir.absolute())
    state.make()
    closing.enter_context(state.lease(what=f"the service's state {state.path}"))
    return state


def require_safe(options: ServiceOptions) -> None:
    """Refuse options with which strangers could use the service, or that do not fit.

    Raises:
        WrongUsageError: keys are missing.
    """
    if options.keys is None and not is_loopback(options.host):
        raise WrongUsageError(
            f"{options.host} can be reached from other machines, so keys are needed: make them "
            "with `facetrove keys add keys.toml NAME --scope search`, and give --keys keys.toml"
        )
    if options.keys is None and options.allowed_hosts:
        raise WrongUsageError(
            "--allow-host is for a proxy, through which others can call the server; give --keys too"
        )
    if options.watch_hook is None and options.watch_hook_secret is not None:
        raise WrongUsageError("--watch-hook-secret signs requests to --watch-hook; give that too")
    for folder in options.folders:
        if not folder.is_dir():
            raise WrongUsageError(
                f"{folder} is no folder; --allow-folder and --enrol-folder name folders of photos"
            )
    for folder in options.enrol_folders:
        require_allowed_folder(str(folder.absolute()), options.folders)
