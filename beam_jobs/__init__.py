"""Apache Beam jobs that turn photos into datasets, and datasets into indexes."""

import os

# gRPC, by which Beam talks to its workers, reads these when it is loaded, here and in workers.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
# Worker processes are not forks that use gRPC, and its preparations for a fork can abort.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
