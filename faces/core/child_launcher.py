"""Run one of the program's modules, in a Python process that was started in safe-path mode.

Usage: python -P child_launcher.py PACKAGES MODULE [ARGUMENT...]

PACKAGES is the folder that the program's packages are imported from. It comes behind Python's own
modules, so that no file in it can replace one of them, and before all installed packages.
"""

import runpy
import sys

if __name__ == "__main__":
    packages, module = sys.argv[1:3]
    del sys.argv[1:3]
    if packages not in sys.path:
        installed = [folder.endswith("-packages") for folder in sys.path]
        sys.path.insert(installed.index(True) if any(installed) else len(sys.path), packages)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
