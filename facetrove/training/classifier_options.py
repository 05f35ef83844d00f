"""The options of a classifier's training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from faces.core.errors import WrongUsageError
from facetrove.training.imbalance import BALANCES, Balance

Architecture = Literal["article", "small", "fer"]
"""The article's network on 28x28 grey pixels, a residual network on 56x56, or a last layer on
the features of a published network for expressions, `faces.models.published_classifiers.FER`."""

ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)


EPOCHS: dict[Architecture, int] = {"article": 10, "small": 20, "fer": 10}
"""Maximum number of epochs where none is given; ten are the article's."""


NUM_CHANGED = 3
"""How many times the features of a crop are computed after it is changed at random, with the
network `fer`."""

FEATURE_BYTES = (1 + NUM_CHANGED) * 1543 * 4
"""Memory in bytes that the features of a face take, with the network `fer`."""


@dataclass(frozen=True)
class ClassifierOptions:
    """How a classifier is trained; the command's options have the same names.

    Attributes:
        architecture: the network.
        balance: how rare classes are handled; see `Balance`.
        strength: with balance `logits`, how far rare classes are favoured, from 0 to 1: 0 is as
            with `none`, and 1 is for faces of which every class has as many.
        augment: whether crops are mirrored, moved and corrupted at random.
        min_class: minimum number of faces of a class, 2 or more; smaller ones are left out.
        batch_size: number of faces of a batch, 1 or more.

    Raises:
        WrongUsageError: an option is outside its range.
    """

    architecture: Architecture = "small"
    balance: Balance = "logits"
    strength: float = 0.3
    augment: bool = True
    min_class: int = 30
    batch_size: int = 64

    def __post_init__(self) -> None:
        for name, allowed in (("architecture", ARCHITECTURES), ("balance", BALANCES)):
            value = getattr(self, name)
            if value not in allowed:
                raise WrongUsageError(f"{name} is {value!r}; give one of {', '.join(allowed)}")
        if not 0 <= self.strength <= 1:
            raise WrongUsageError(f"strength is {self.strength}; give a number from 0 to 1")
        for name, least in (("min_class", 2), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise WrongUsageError(f"{name} is {getattr(self, name)}; give {least} or more")
