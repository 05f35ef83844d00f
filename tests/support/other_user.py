"""Calls of another user of the machine to the services of a job."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

NOBODY = 65534
"""Number of the user that owns nothing, on Linux and most other systems."""

FN = "/org.apache.beam.model.fn_execution.v1"
JOB = "/org.apache.beam.model.job_management.v1"

NEEDED = (
    f"{FN}.BeamFnControl/Control",
    f"{FN}.BeamFnControl/GetProcessBundleDescriptor",
    f"{FN}.BeamFnData/Data",
    f"{FN}.BeamFnState/State",
)
"""Methods of the services that workers need."""

NOT_NEEDED = (
    f"{FN}.BeamFnLogging/Logging",
    f"{FN}.ProvisionService/GetProvisionInfo",
    f"{JOB}.ArtifactRetrievalService/ResolveArtifacts",
    f"{JOB}.ArtifactRetrievalService/GetArtifact",
    f"{JOB}.ArtifactStagingService/ReverseArtifactRetrievalService",
)
"""Methods of the other services that Beam starts with a job by itself."""

# gRPC is imported before the user is changed: the environment may be readable by its owner alone.
CALL_ALL = """
import grpc, json, os, sys
user, address, methods = json.loads(sys.argv[1])
grpc.insecure_channel("unix:/no/such").close()
if user != os.geteuid():
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
answers = {}
with grpc.insecure_channel(address) as channel:
    for method in methods:
        try:
            call = channel.stream_stream(method)(iter([b""]), timeout=5)
            answers[method] = [answer.hex() for answer in call]
        except grpc.RpcError as error:
            answers[method] = error.code().name
print(json.dumps(answers))
"""


def answers_to(user: int, address: str) -> dict[str, str | list[str]]:
    """Call every method that Beam's services have, as a user of the machine.

    Args:
        user: the user's number; another one than this process's needs root.
        address: the address of the job's services, as gRPC writes it.

    Returns:
        By method the name of gRPC's status code, or the messages of an answer as hexadecimal text.
    """
    if user != os.geteuid() and os.geteuid() != 0:
        pytest.skip("only root can call as another user")
    what = json.dumps([user, address, [*NEEDED, *NOT_NEEDED]])
    finished = subprocess.run(
        [sys.executable, "-c", CALL_ALL, what], capture_output=True, check=True, text=True
    )
    answers: dict[str, str | list[str]] = json.loads(finished.stdout)
    return answers
