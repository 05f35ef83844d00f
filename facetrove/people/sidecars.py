"""XMP sidecars that name the faces of photos, by the regions of the Metadata Working Group.

Photo managers (digiKam, Lightroom, darktable) read `photo.jpg.xmp` beside `photo.jpg`. The regions
are those of the MWG's guidelines, version 2.0, section 5.9: centre, width and height as shares of
the photo, "normalized".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

import numpy as np
import pyarrow.compute as pc

from faces.core.errors import WrongUsageError
from faces.core.storage import Folder
from faces.dataset.store import Dataset
from faces.photos.mounts import file_of
from faces.photos.uris import photo_name
from facetrove.people.tables import PeoplesFaces

SUFFIX = ".xmp"

_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/"
    xmlns:stDim="http://ns.adobe.com/xap/1.0/sType/Dimensions#"
    xmlns:stArea="http://ns.adobe.com/xmp/sType/Area#">
   <mwg-rs:Regions rdf:parseType="Resource">
    <mwg-rs:AppliedToDimensions stDim:w="{width}" stDim:h="{height}" stDim:unit="pixel"/>
    <mwg-rs:RegionList>
     <rdf:Bag>
{regions}
     </rdf:Bag>
    </mwg-rs:RegionList>
   </mwg-rs:Regions>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""

_REGION = """      <rdf:li>
       <rdf:Description mwg-rs:Name={name} mwg-rs:Type="Face">
        <mwg-rs:Area stArea:x="{x:.6f}" stArea:y="{y:.6f}" stArea:w="{w:.6f}" stArea:h="{h:.6f}"
          stArea:unit="normalized"/>
       </rdf:Description>
      </rdf:li>"""


class NamedFace(NamedTuple):
    """A face of a photo that has a name.

    Attributes:
        name: the person's name.
        box: x, y, width, height in pixels of the upright photo.
    """

    name: str
    box: Sequence[float]


def sidecar_text(width: int, height: int, faces: Iterable[NamedFace]) -> str:
    """Return the XMP packet of a photo with named faces.

    Args:
        width: the photo's width in pixels.
        height: the photo's height in pixels.
        faces: the faces.
    """
    regions = []
    for face in faces:
        x, y, w, h = (float(value) for value in face.box)
        left, top = np.clip([x / width, y / height], 0, 1)
        right, bottom = np.clip([(x + w) / width, (y + h) / height], 0, 1)
        regions.append(
            _REGION.format(
                name=quoteattr(face.name, {'"': "&quot;"}),
                x=(left + right) / 2,
                y=(top + bottom) / 2,
                w=right - left,
                h=bottom - top,
            )
        )
    return _PACKET.format(width=width, height=height, regions="\n".join(regions))


def write_sidecars(dataset: Dataset, faces: PeoplesFaces, folder: Path) -> int:
    """Write a sidecar for each photo that has a named face into a new folder.

    The folders of the photos are made in it too: `/archive/a/b.jpg` gets `a/b.jpg.xmp` where all
    photos are below `/archive`. Photos in archives and at addresses are in folders of their digest.

    Args:
        dataset: the dataset.
        faces: its faces with their people.
        folder: path of a folder that is new or empty.

    Returns:
        The number of sidecars.

    Raises:
        WrongUsageError: the folder is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise WrongUsageError(f"{folder} is not empty; name a new folder for the sidecars")
    found = list(_named_photos(dataset, faces))
    names = _names_of([uri for uri, *_ in found])
    storage = Folder(folder)
    storage.make()
    for name, (_, width, height, named) in zip(names, found, strict=True):
        above = ""
        for part in name.split("/")[:-1]:
            above = f"{above}/{part}" if above else part
            storage.make_folder(above)
        with storage.put(name) as file:
            file.write(sidecar_text(width, height, named).encode())
    return len(found)


def _named_photos(
    dataset: Dataset, faces: PeoplesFaces
) -> Iterator[tuple[str, int, int, list[NamedFace]]]:
    """Yield uri, width, height and named faces of each photo with a named face."""
    names = faces.view.names_of(faces.people)
    table = faces.faces.select(["uri", "photo_id", "box"]).append_column("name", names)
    table = table.filter(pc.is_valid(table["name"])).sort_by("uri")
    sizes = dataset.photos(["width", "height"])
    row = pc.index_in(table["photo_id"], value_set=sizes["photo_id"].combine_chunks())
    for column in ("width", "height"):
        table = table.append_column(column, sizes[column].take(row.combine_chunks()))
    uri: str | None = None
    kept: list[NamedFace] = []
    size = (0, 0)
    for face in table.to_pylist():
        if face["uri"] != uri and kept and uri is not None:
            yield uri, *size, kept
            kept = []
        uri, size = face["uri"], (face["width"] or 0, face["height"] or 0)
        if min(size) > 0:
            kept.append(NamedFace(face["name"], face["box"]))
    if kept and uri is not None:
        yield uri, *size, kept


def _names_of(uris: Sequence[str]) -> list[str]:
    """Return the name of each photo's sidecar, relative to the folder of all."""
    files = [file_of(uri) for uri in uris]
    whole = [
        f for f, uri in zip(files, uris, strict=True) if f is not None and f.name == photo_name(uri)
    ]
    folders = [f.parent.parts for f in whole]
    common = 0
    while folders and all(len(p) > common and p[common] == folders[0][common] for p in folders):
        common += 1
    names = []
    for file, uri in zip(files, uris, strict=True):
        if file is not None and file.name == photo_name(uri):
            parts = [*file.parent.parts[common:], file.name]
        else:
            parts = [
                hashlib.sha256(uri.encode()).hexdigest()[:16],
                photo_name(uri).rpartition("/")[2],
            ]
        safe = [_as_name(part) for part in parts]
        names.append("/".join([*safe[:-1], safe[-1] + SUFFIX]))
    return names


def _as_name(part: str) -> str:
    """Return a part of a path that is no path itself."""
    cleaned = part.replace("\0", "_").replace("/", "_")
    return f"_{cleaned}" if cleaned in ("", ".", "..") else cleaned
