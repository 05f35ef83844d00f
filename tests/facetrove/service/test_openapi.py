"""The OpenAPI document: a snapshot, and every operation asked by schemathesis."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from facetrove.service.app import openapi_document
from facetrove.service.job_runner import JobRunner
from facetrove.service.options import ServiceLimits
from tests.support.command import ROOT
from tests.support.service import serving
from tests.support.small_collections import Collection

SNAPSHOT = ROOT / "docs" / "openapi.json"

EXAMPLES = int(os.environ.get("FACETROVE_EXAMPLES", "12"))

SCHEMA = schemathesis.openapi.from_dict(openapi_document())

CHECKED = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


def test_the_document_is_the_one_in_the_repository() -> None:
    """Write it anew with FACETROVE_WRITE=1, and look at what has changed for clients."""
    text = json.dumps(openapi_document(), indent=1, sort_keys=True) + "\n"
    if os.environ.get("FACETROVE_WRITE"):
        SNAPSHOT.write_text(text)
    assert SNAPSHOT.read_text() == text


def test_every_operation_has_a_summary_an_id_and_errors() -> None:
    ids = []
    for path, methods in openapi_document()["paths"].items():
        for operation in methods.values():
            ids.append(operation["operationId"])
            assert operation["summary"] and operation.get("description"), path
            if path.startswith("/v1/"):
                assert {"401", "403", "404", "413", "422", "429", "503"} <= set(
                    operation["responses"]
                )
    assert len(set(ids)) == len(ids)


@pytest.fixture(scope="module")
def address(small: tuple[Collection, Path], folder: Path) -> Iterator[str]:
    """A service that queues jobs and runs none, so that nothing changes."""

    async def idle(self: JobRunner) -> None:
        await asyncio.Event().wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JobRunner, "run", idle)
        options = {"uploads": folder / "uploads", "folders": (folder,)}
        limits = ServiceLimits(max_jobs=1_000_000)
        with serving(small[1], limits=limits, **options) as client:
            yield str(client.base_url)


@pytest.mark.slow
@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
def test_any_request_has_an_answer_that_the_document_declares(
    case: schemathesis.Case, address: str
) -> None:
    response = case.call(base_url=address)
    case.validate_response(response, checks=CHECKED)
