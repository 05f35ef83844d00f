"""The options of a classifier's training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from faces.core.errors import WrongUsageError
from facetrove.training.imbalance import BALANCES, Balance

Architecture = Literal["article", "small"]
"""The article's network on 28x28 grey pixels, or a residual network on 56x56."""

ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)


EPOCHS: dict[Architecture, int] = {"article": 10, "small": 20}
"""Maximum number of epochs where none is given; ten are the article's."""


@dataclass(frozen=True)
class ClassifierOptions:
    """How a classifier is trained; the command's options have the same names.

    Attributes:
        architecture: the network.
        balance: how rare classes are handled; see `Balance`.
        augment: whether crops are mirrored, moved and corrupted at random.
        min_class: minimum number of faces of a class, 2 or more; smaller ones are left out.
        batch_size: number of faces of a batch, 1 or more.

    Raises:
        WrongUsageError: an option is outside its range.
    """

    architecture: Architecture = "small"
    balance: Balance = "logits"
    augment: bool = True
    min_class: int = 30
    batch_size: int = 64

    def __post_init__(self) -> None:
        for name, allowed in (("architecture", ARCHITECTURES), ("balance", BALANCES)):
            value = getattr(self, name)
            if value not in allowed:
                raise WrongUsageError(f"{name} is {value!r}; give one of {', '.join(allowed)}")
        for name, least in (("min_class", 2), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise WrongUsageError(f"{name} is {getattr(self, name)}; give {least} or more")
