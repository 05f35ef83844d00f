"""Apache Beam jobs that turn photos into datasets, and datasets into indexes."""

import os
import sys

if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:
    # In `python -m NAME`, Python looks for every module in the current folder first, which may be a
    # stranger's. While NAME's package is imported, the first argument is "-m".
    del sys.path[0]
    _ours = __file__.rsplit(os.sep, 2)[0]
    if _ours not in sys.path:  # a checkout that is not installed: behind Python's own modules
        _installed = [folder.endswith("-packages") for folder in sys.path]
        sys.path.insert(_installed.index(True) if any(_installed) else len(sys.path), _ours)

from faces.core.environment import loading_libraries  # once the path is safe

# gRPC, by which Beam talks to its workers, reads these once, when it is loaded: measured with
# 1.85. Worker processes are not forks that use gRPC, and its preparations for a fork can abort.
with loading_libraries(GRPC_VERBOSITY="ERROR", GRPC_ENABLE_FORK_SUPPORT="0"):
    import grpc  # noqa: F401
