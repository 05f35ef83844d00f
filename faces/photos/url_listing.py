"""List the photos of a folder, an archive or a single object that a URL names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from faces.core.errors import FaceTroveError, WrongUsageError, cause_of
from faces.photos.archive_listing import ArchiveLister, archive_photos, find_in_archive
from faces.photos.archives import MemberUrl, archive_scheme, split_member_url
from faces.photos.listed import SourceListing, below, complete_roots
from faces.photos.lists import LIST_SUFFIXES
from faces.photos.passed_over import Exclusion, PassedOver
from faces.photos.photo_tables import photo_table
from faces.photos.remote import filesystem_of, mtime_ns_of, objects_below
from faces.photos.uris import (
    PhotoFile,
    escape_url,
    is_path,
    is_url,
    photo_uri,
    unescape_url,
    url_scheme,
)

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


def find_url(
    url: str,
    list_archive: ArchiveLister = archive_photos,
    exclusion: Exclusion = Exclusion(),
) -> SourceListing:
    """List the photos of a remote folder or an archive, or one remote object.

    Args:
        url: the URL.
        list_archive: lists an archive.
        exclusion: what is excluded.

    Raises:
        WrongUsageError: nothing exists at the URL, or it cannot be listed.
        CorruptFileError: the URL names an archive that is corrupt.
    """
    member = split_member_url(url)
    if member is not None:
        target = member.target if is_url(member.target) else os.path.abspath(member.target)
        return find_in_archive(url, member._replace(target=target), list_archive, exclusion)
    try:
        filesystem, path = filesystem_of(url)
        filesystem.invalidate_cache()  # a cached listing may be out of date
        uri = photo_uri(filesystem.unstrip_protocol(path))
        if is_path(uri):
            raise WrongUsageError(f"{url} is a local file or folder; name its path, {path}")
        # Workers get nothing but the uris, so these must lead to the same filesystem.
        uri_is_complete = filesystem_of(unescape_url(uri)) == (filesystem, path)
        info = filesystem.info(path)
        is_folder = info["type"] == "directory"
        infos = objects_below(filesystem, path) if uri_is_complete and is_folder else {path: info}
    except FaceTroveError:
        raise
    except FileNotFoundError as error:
        raise WrongUsageError(f"{url} does not exist; name a folder or a photo there") from error
    except Exception as error:  # fsspec's filesystems raise nearly any exception
        raise WrongUsageError(
            f"{url} cannot be listed ({cause_of(error)}); check the address, your credentials "
            "and the network"
        ) from error
    if not uri_is_complete:
        raise WrongUsageError(
            f"{url} has parts, such as a host or a user, that the {url_scheme(uri)}:// URLs of its "
            "photos cannot have; mount it, or copy the photos to this machine"
        )
    if is_folder:
        return _photos_of_folder(url, filesystem, path, infos, exclusion)
    if (scheme := archive_scheme(path)) is not None:
        return find_in_archive(url, MemberUrl(scheme, "", uri), list_archive, exclusion)
    if path.lower().endswith(LIST_SUFFIXES):
        raise WrongUsageError(
            f"{url} is a remote photo list; copy it to this machine and name the copy"
        )
    return SourceListing(url, photo_table([_object(uri, info)]))


def _photos_of_folder(
    url: str,
    filesystem: AbstractFileSystem,
    path: str,
    infos: dict[str, dict[str, Any]],
    exclusion: Exclusion,
) -> SourceListing:
    folder = below(path) if path.strip("/") else path
    passed_over = PassedOver(
        exclusion, lambda inner: photo_uri(filesystem.unstrip_protocol(folder + inner))
    )
    files = (
        _object(photo_uri(filesystem.unstrip_protocol(name)), info)
        for name, info in infos.items()
        if info.get("type") != "directory" and passed_over.lists(name.removeprefix(folder))
    )
    photos = photo_table(files)
    folders = {
        filesystem.unstrip_protocol(
            name if info.get("type") == "directory" else name.rpartition("/")[0]
        )
        for name, info in infos.items()
    }
    root = filesystem.unstrip_protocol(folder)
    roots = complete_roots(
        root,
        map(below, _without_photos(root, folders, photos)),
        excluded=exclusion.expression,
        escape=escape_url,
    )
    return SourceListing(url, photos, roots, passed_over=passed_over.table())


def _without_photos(root: str, folders: Iterable[str], photos: pa.Table) -> set[str]:
    """Return the topmost of the folders below which there is no photo."""
    with_photos = {root.rstrip("/")}
    for uri in photos["uri"].to_pylist():
        while (uri := uri.rpartition("/")[0]) not in with_photos and uri.startswith(root):
            with_photos.add(uri)
    empty = set()
    for folder in folders:
        above = folder.rstrip("/")
        while above.startswith(root) and above not in with_photos:
            topmost, above = above, above.rpartition("/")[0]
            if above in with_photos:
                empty.add(topmost)
    return empty


def _object(uri: str, info: dict[str, Any]) -> PhotoFile:
    size = info.get("size")
    return PhotoFile(uri, -1 if size is None else int(size), mtime_ns_of(info))
