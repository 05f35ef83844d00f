from __future__ import annotations

import json
from dataclasses import replace

import pytest

from faces.core.contract import ModelContract, require_same_contract
from faces.core.documents import parse
from faces.core.errors import ContractMismatchError


def test_a_contract_survives_a_round_trip_through_json(contract: ModelContract) -> None:
    assert parse(json.dumps(contract.to_json()), ModelContract) == contract


@pytest.mark.parametrize(
    "change",
    [{"dimension": "8"}, {"dimension": True}, {"dimension": 0}, {"detector": 3}, {"extra": 1}],
)
def test_a_corrupt_contract_is_refused_with_the_name_of_the_field(
    contract: ModelContract, change: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        parse(json.dumps({**contract.to_json(), **change}), ModelContract)


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
