"""List the photos of local folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from faces.core.errors import WrongUsageError, cause_of
from faces.photos.listed import SourceListing, below, complete_roots
from faces.photos.names import has_photo_ending
from faces.photos.passed_over import Exclusion, PassedOver
from faces.photos.photo_tables import photo_table
from faces.photos.uris import PhotoFile, escape_path, path_uri


def find_in_folder(
    source: str,
    path: Path,
    exclusion: Exclusion = Exclusion(),
    counted: Callable[[Iterator[PhotoFile]], Iterator[PhotoFile]] = lambda photos: photos,
) -> SourceListing:
    """List the photos below a folder, in its subfolders too; the folder becomes a complete root.

    Args:
        source: the folder as the user named it, for messages.
        path: path of the folder.
        exclusion: what is excluded.
        counted: function that yields the photos that it gets, and may count them.

    Raises:
        WrongUsageError: the folder itself cannot be read.
    """
    folder = os.path.abspath(path)
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise WrongUsageError(
            f"{source} cannot be read ({cause_of(error)}); make it readable or name another folder"
        ) from error
    walk = FolderWalk(folder, PassedOver(exclusion))
    photos = photo_table(counted(walk.photos()))
    roots = complete_roots(
        below(folder),
        map(below, walk.skipped),
        excluded=exclusion.expression,
        escape=escape_path,
    )
    return SourceListing(source, photos, roots, passed_over=walk.passed_over.table())


@dataclass
class _Visit:
    """A folder that is being searched: what is left of it to do, and what was found below it."""

    path: str
    is_gone: bool = False
    has_photo: bool = False
    subfolders: list[str] = field(default_factory=list)
    without_photos: list[str] = field(default_factory=list)


class FolderWalk:
    """A search for the photos below a folder.

    Args:
        folder: absolute path of the folder.
        passed_over: notes what is passed over, and says what is excluded.
        base: absolute path of the folder from which on paths are compared with what is excluded;
            None: `folder`.

    Attributes:
        skipped: paths of the subfolders about whose photos nothing can be concluded: links to
            folders, folders that cannot be read, and those without any photo below them, as the
            mount point of a disk that is not mounted.
    """

    def __init__(self, folder: str, passed_over: PassedOver, base: str | None = None) -> None:
        self.passed_over = passed_over
        self._start = len(below(folder if base is None else base))
        self.skipped: list[str] = []
        self._folder = folder
        self._excludes_files = bool(passed_over.exclusion.patterns)

    def photos(self) -> Iterator[PhotoFile]:
        """Yield the photos, and an entry for each subfolder that cannot be read."""
        visits: list[_Visit] = []
        waiting: str | None = self._folder
        while waiting is not None or visits:
            if waiting is not None:
                visit = _Visit(waiting)
                for photo in self._photos_in(visit):
                    visit.has_photo |= photo.num_bytes >= 0
                    yield photo
                visits.append(visit)
            waiting = visits[-1].subfolders.pop() if visits[-1].subfolders else None
            if waiting is None:
                self._leave(visits.pop(), visits[-1] if visits else None)

    def _leave(self, visit: _Visit, parent: _Visit | None) -> None:
        """Pass on to the parent whether there are photos; skip the topmost folders without any."""
        if parent is not None and not visit.has_photo:
            parent.without_photos += [] if visit.is_gone else [visit.path]
            return
        self.skipped.extend(visit.without_photos)
        if parent is not None:
            parent.has_photo = True

    def _photos_in(self, visit: _Visit) -> Iterator[PhotoFile]:
        """Yield the photos in one folder, and append the subfolders that are to be searched."""
        passed_over, named = self.passed_over, self.passed_over.exclusion.named
        try:
            with os.scandir(visit.path) as entries:
                for entry in entries:
                    is_folder = entry.is_dir(follow_symlinks=False)
                    is_photo = not is_folder and has_photo_ending(entry.name)
                    if entry.path in named and not is_photo:
                        continue  # a source of its own
                    pattern = None
                    if is_folder or self._excludes_files:
                        relative = entry.path[self._start :]
                        pattern = passed_over.pattern_of(relative + "/" if is_folder else relative)
                    if pattern is not None:
                        exclude_photos(entry.path, pattern, passed_over, is_folder=is_folder)
                    elif entry.name.startswith("."):
                        if is_folder or is_photo:
                            what = "folders" if is_folder else "photos"
                            passed_over.add("hidden", what, entry.path)
                    elif is_folder:
                        visit.subfolders.append(entry.path)
                    elif entry.is_symlink() and os.path.isdir(entry.path):  # noqa: PTH112
                        self.skipped.append(entry.path)
                        passed_over.add("link", "folders", entry.path)
                    elif is_photo:
                        yield stat_photo(entry.path)
                    else:
                        passed_over.add_file(entry.path)
        except FileNotFoundError:
            visit.is_gone = True  # the folder was removed since its parent was read
        except OSError:  # listed nevertheless, so that the job rejects it with a reason
            self.skipped.append(visit.path)
            yield PhotoFile(path_uri(visit.path), -1, -1)


def exclude_photos(path: str, pattern: str, passed_over: PassedOver, *, is_folder: bool) -> None:
    """Note as excluded by a pattern all photos below a folder, or a file if it is a photo."""
    folders = os.walk(path) if is_folder else [(os.path.dirname(path), [], [path])]  # noqa: PTH120
    for folder, _, names in folders:
        for name in filter(has_photo_ending, names):
            passed_over.add("excluded", pattern, os.path.join(folder, name))  # noqa: PTH118


def stat_photo(path: str) -> PhotoFile:
    """Return the uri, size and modification time of whatever is at a path.

    Size and time are -1 where the path cannot be examined.
    """
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):  # listed nevertheless, so that the job rejects it with a reason
        return PhotoFile(path_uri(path), -1, -1)
    return PhotoFile(path_uri(path), status.st_size, status.st_mtime_ns)
