from __future__ import annotations

import json
from dataclasses import replace

import pytest

from faces.core.contract import ModelContract, require_same_contract
from faces.core.errors import ContractMismatchError, CorruptFileError


def test_a_contract_survives_a_round_trip_through_json(contract: ModelContract) -> None:
    document = json.loads(json.dumps(contract.to_json()))
    assert ModelContract.from_json(document, source="x") == contract


@pytest.mark.parametrize("change", [{"dimension": "8"}, {"dimension": True}, {"detector": 3}])
def test_a_corrupt_contract_is_refused_with_the_name_of_its_file(
    contract: ModelContract, change: dict[str, object]
) -> None:
    with pytest.raises(CorruptFileError, match=r"dataset\.json"):
        ModelContract.from_json({**contract.to_json(), **change}, source="dataset.json")
    with pytest.raises(CorruptFileError):
        ModelContract.from_json({**contract.to_json(), "extra": 1}, source="x")
    with pytest.raises(CorruptFileError):
        ModelContract.from_json(None, source="x")


@pytest.mark.parametrize(
    "change",
    [
        {"embedder": "other"},
        {"embedder_digest": "cc" * 32},
        {"detector_digest": "cc" * 32},
        {"alignment": "other"},
        {"dimension": 16},
        {"preprocessing_version": 99},
    ],
)
def test_an_error_about_different_contracts_names_both(
    contract: ModelContract, change: dict[str, object]
) -> None:
    other = replace(contract, **change)  # type: ignore[arg-type]
    with pytest.raises(ContractMismatchError) as caught:
        require_same_contract(
            contract, other, ours_name="this run", theirs_name="index i", remedy="do that"
        )
    message = str(caught.value)
    assert str(contract) in message
    assert str(other) in message
    assert str(contract) != str(other)
    assert "do that" in message
