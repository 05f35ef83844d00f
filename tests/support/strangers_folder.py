"""A folder of a stranger: photos, and beside them whatever a program might run or obey."""

from __future__ import annotations

import sys
from importlib.metadata import packages_distributions
from pathlib import Path

SHARED_LIBRARIES = (
    *("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "libz.so.1", "libgcc_s.so.1"),
    *("libstdc++.so.6", "libgomp.so.1"),
)
"""Names of libraries that programs load. A file of such a name that is none ends them."""

PLOT_SETTINGS = "text.usetex: True\ntext.latex.preamble: \\input{/etc/passwd}\n"
"""A matplotlibrc that has LaTeX run for every text in a plot."""


def fill(folder: Path, mark: Path) -> None:
    """Fill a folder with a file for every importable module, shared libraries and settings.

    Each of the Python files, if it is run, adds its name to a file.

    Args:
        folder: the folder, which exists.
        mark: path of the file that names are added to.
    """
    # These two are run where the user asks Python itself for them: `python -m facetrove`.
    named = {"facetrove", "beam_jobs"}
    modules = {*sys.stdlib_module_names, *packages_distributions(), "usercustomize"}
    modules |= {"sitecustomize", "faces", "indexer", "search"}
    for name in filter(str.isidentifier, modules - named):
        (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'a').write('{name} ')\n")
    for package in ("PIL", "faces", "beam_jobs/runners"):
        (folder / package).mkdir(parents=True)
        (folder / package / "local_worker.py").touch()
        content = f"open({str(mark)!r}, 'a').write('{package}/ ')\n"
        (folder / package / "__init__.py").write_text(content)
    for library in SHARED_LIBRARIES:
        (folder / library).write_text("no library")
    (folder / "matplotlibrc").write_text(PLOT_SETTINGS)
    (folder / "rust-toolchain.toml").write_text('[toolchain]\npath = "toolchain"\n')
