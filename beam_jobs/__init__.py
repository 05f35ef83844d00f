"""Apache Beam jobs: photos to datasets."""

import os

# Read by gRPC, on which Beam talks to its workers, when it is loaded, and by the workers in turn.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
# Starting a worker process is no fork that gRPC need prepare for; its preparations can abort.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
