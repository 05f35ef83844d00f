"""The kernels that FAISS's OpenBLAS multiplies matrices by: those that suit this processor.

FAISS's wheels for Linux carry an OpenBLAS of 2021 in a file of their own. It does not know newer
processors: on those of Intel since 2021 it takes kernels of 2004, with which exact search, training
and adding run at a third of their speed. So the library is loaded before FAISS, and, where the
processor has wider vectors than the kernels that the library has taken for itself, it is made to
choose again by its own variable, OPENBLAS_CORETYPE, which is set for that moment alone.

NumPy's OpenBLAS is another file, which has chosen when NumPy was loaded, and is left alone. So is
an OpenBLAS that another program has loaded before, which may be computing with it.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from faces.core.errors import WrongUsageError
from faces.core.machine import processor_flags

logger = logging.getLogger(__name__)

KERNELS_VARIABLE = "FACETROVE_BLAS_KERNELS"
"""The environment variable that names kernels of `KERNELS`, or `OWN` for the library's choice."""

OWN = "own"

_CORE_TYPE = "OPENBLAS_CORETYPE"
"""OpenBLAS's variable, which all libraries of OpenBLAS in a process read when they choose."""

_AVX2 = frozenset({"avx2", "fma"})
_AVX512 = _AVX2 | {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}

KERNELS = {
    "SkylakeX": _AVX512,
    "Haswell": _AVX2,
    "Sandybridge": frozenset({"avx"}),
    "Nehalem": frozenset({"sse4_2"}),
    "Prescott": frozenset({"pni"}),
}
"""The kernels that may be chosen, widest vectors first, with the flags (as in /proc/cpuinfo) of the
processors that they run on. Elsewhere they would end the process."""

_AS_WIDE = {
    **dict.fromkeys(("zen", "excavator"), "Haswell"),
    **dict.fromkeys(("bulldozer", "piledriver", "steamroller"), "Sandybridge"),
    **dict.fromkeys(("barcelona", "penryn", "dunnington"), "Nehalem"),
    **dict.fromkeys(
        ("atom", "bobcat", "core2", "nano", "opteron", "opteron_sse3", "generic"), "Prescott"
    ),
    **{name.lower(): name for name in KERNELS},
}
"""Other kernels that OpenBLAS takes by itself, with those of `KERNELS` whose vectors are as wide.
One that is in neither is of a newer OpenBLAS, which knows better."""

_SHAPES = ((16, 128, 128), (31, 61, 128), (5, 7, 512), (33, 29, 33))
"""Rows, columns and depth of the products by which kernels are checked. OpenBLAS computes them on
one thread, as all that are smaller than 2^18: a thread would be missing in a forked process."""

_TOLERANCE = 1e-5
"""Largest error of a product's values, as a share of the root of its depth. Rounding gives a
hundredth of it."""

_COMPANIONS = ("libgomp", "libquadmath", "libgfortran")
"""The libraries beside OpenBLAS in the wheel that it needs; the last one needs that before it."""

_ROW_MAJOR, _AS_IS, _TRANSPOSED = 101, 111, 112
"""Constants of the CBLAS interface."""


@dataclass(frozen=True)
class BlasKernels:
    """The kernels that FAISS multiplies matrices by.

    Attributes:
        library: the file name of the OpenBLAS that FAISS's wheel carries; None: there is none, and
            FAISS computes by a library of the system.
        kernels: the kernels' name as OpenBLAS has it; None: not known.
        chosen_by: what has chosen them: `processor` (its flags), `FACETROVE_BLAS_KERNELS`,
            `OPENBLAS_CORETYPE`, `library` (OpenBLAS itself), or `loaded before` (another program,
            before facetrove).
    """

    library: str | None
    kernels: str | None
    chosen_by: str


_choosing = threading.Lock()
"""Held while kernels are chosen: meanwhile no other thread may compute with the library."""


def choose_kernels() -> BlasKernels:
    """Load FAISS's OpenBLAS with the kernels that suit this processor, if it is not loaded yet.

    Raises:
        WrongUsageError: the kernels that FACETROVE_BLAS_KERNELS names are unknown, do not run on
            this processor, or compute wrong products on it.
    """
    with _choosing:
        return _choose()


@cache
def _choose() -> BlasKernels:
    asked = _asked()
    path = _library_path()
    if path is None:
        return BlasKernels(None, None, "library")
    was_loaded = _is_loaded(path)
    try:
        library = _Library(_loaded(path))
    except (OSError, AttributeError) as error:  # another build, without these functions
        logger.warning("the kernels of %s cannot be chosen: %s", path.name, error)
        return BlasKernels(path.name, None, "library")
    if was_loaded:
        if asked is not None:
            logger.warning("%s has no effect: FAISS was loaded before", KERNELS_VARIABLE)
        return BlasKernels(path.name, library.kernels, "loaded before")
    return BlasKernels(path.name, *_chosen(library, asked))


def _asked() -> str | None:
    """Return the kernels that the user's variable names, checked; None: it is not set."""
    asked = os.environ.get(KERNELS_VARIABLE)
    if not asked:
        return None
    if asked not in (*KERNELS, OWN):
        raise WrongUsageError(
            f"{KERNELS_VARIABLE} is {asked!r}; give {', '.join(KERNELS)} or {OWN}, or leave it out"
        )
    missing = sorted(KERNELS.get(asked, frozenset()) - processor_flags())
    if missing:
        raise WrongUsageError(
            f"{KERNELS_VARIABLE} is {asked}, but this processor lacks {', '.join(missing)}; give "
            "others, or leave it out"
        )
    return asked


def _library_path() -> Path | None:
    """Return the OpenBLAS that lies beside FAISS in its wheel, as auditwheel puts it there."""
    faiss = find_spec("faiss")
    if not sys.platform.startswith("linux") or faiss is None or faiss.origin is None:
        return None
    found = sorted(Path(faiss.origin).parents[1].glob("faiss_[cg]pu.libs/libopenblas*.so*"))
    return found[0] if len(found) == 1 else None


def _is_loaded(path: Path) -> bool:
    """Return whether a library is in this process."""
    try:
        ctypes.CDLL(str(path), os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return False
    return True


def _loaded(path: Path) -> ctypes.CDLL:
    """Load an OpenBLAS, and first what it needs: its file does not say where that lies."""
    for needed in _COMPANIONS:
        for companion in path.parent.glob(f"{needed}*.so*"):
            ctypes.CDLL(str(companion))
    return ctypes.CDLL(str(path))


def _chosen(library: _Library, asked: str | None) -> tuple[str, str]:
    """Have a library use the right kernels; return their name, and what has chosen them."""
    own = library.kernels
    if asked in KERNELS:
        if not library.use(asked):
            raise WrongUsageError(
                f"{KERNELS_VARIABLE} is {asked}, whose products are wrong on this processor; give "
                "others, or leave it out"
            )
        return asked, KERNELS_VARIABLE
    if asked == OWN or os.environ.get(_CORE_TYPE):
        return own, KERNELS_VARIABLE if asked == OWN else _CORE_TYPE
    for name in wider_kernels(own, processor_flags()):
        if library.use(name):
            return name, "processor"
        logger.warning("the %s kernels of FAISS's OpenBLAS are wrong on this processor", name)
    if not library.is_right():
        library.use(None)
    return library.kernels, "library"


def wider_kernels(own: str, flags: frozenset[str]) -> list[str]:
    """Return the kernels whose vectors are wider than those that OpenBLAS has taken for itself.

    Args:
        own: name of the kernels that OpenBLAS has taken.
        flags: the processor's flags, as in /proc/cpuinfo.

    Returns:
        Names of `KERNELS` that run on the processor, widest vectors first.
    """
    ranks = list(KERNELS)
    if own.lower() not in _AS_WIDE:
        return []
    wider = ranks[: ranks.index(_AS_WIDE[own.lower()])]
    return [name for name in wider if KERNELS[name] <= flags]


class _Library:
    """A loaded OpenBLAS, with the functions by which it chooses kernels and multiplies."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._name = library.openblas_get_corename
        self._name.argtypes, self._name.restype = (), ctypes.c_char_p
        self._forget, self._choose = library.gotoblas_dynamic_quit, library.gotoblas_dynamic_init
        for function in (self._forget, self._choose):
            function.argtypes, function.restype = (), None
        count, number, matrix = ctypes.c_int, ctypes.c_float, ctypes.c_void_p
        self._multiply = library.cblas_sgemm
        self._multiply.argtypes = (
            *([count] * 6),
            *(number, matrix, count, matrix, count, number, matrix, count),
        )
        self._multiply.restype = None

    @property
    def kernels(self) -> str:
        """The name of the kernels in use."""
        name: bytes = self._name()
        return name.decode()

    def use(self, name: str | None) -> bool:
        """Use other kernels, None for the library's own choice; return whether they are right.

        If they are wrong, the library chooses again by itself.
        """
        self._choose_with(name)
        if name is None or (self.kernels == name and self.is_right()):
            return True
        self._choose_with(None)
        return False

    def _choose_with(self, name: str | None) -> None:
        with _core_type(name):
            self._forget()
            self._choose()

    def is_right(self) -> bool:
        """Return whether products of small matrices are those that NumPy computes without BLAS."""
        for rows, columns, depth in _SHAPES:
            left = np.sin(np.arange(rows * depth, dtype=np.float32)).reshape(rows, depth)
            right = np.cos(np.arange(columns * depth, dtype=np.float32)).reshape(columns, depth)
            product = np.full((rows, columns), np.nan, np.float32)
            self._multiply(
                *(_ROW_MAJOR, _AS_IS, _TRANSPOSED, rows, columns, depth),
                *(1.0, left.ctypes.data, depth, right.ctypes.data, depth),
                *(0.0, product.ctypes.data, columns),
            )
            error = np.abs(product - np.einsum("id,jd->ij", left, right)).max()
            if not error <= _TOLERANCE * depth**0.5:
                return False
        return True


@contextmanager
def _core_type(name: str | None) -> Iterator[None]:
    """Set OpenBLAS's variable to kernels, or leave it out, while the context is open."""
    before = os.environ.pop(_CORE_TYPE, None)
    if name is not None:
        os.environ[_CORE_TYPE] = name
    try:
        yield
    finally:
        os.environ.pop(_CORE_TYPE, None)
        if before is not None:
            os.environ[_CORE_TYPE] = before
