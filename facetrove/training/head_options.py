"""The options of a head's training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from faces.core.errors import WrongUsageError

Method = Literal["whitening", "margin"]
"""How a head is learnt: in closed form, or by Keras with a margin loss."""

METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True)
class HeadOptions:
    """How a head is trained; the command's options have the same names.

    Attributes:
        method: see `Method`.
        layers: number of layers of a head that is trained with the margin loss, 1 or 2.
        trust_labels: whether to learn from doubtful labels like from others; None: only where few
            are doubtful, see `facetrove.training.label_support`.

    Raises:
        WrongUsageError: an option is outside its range.
    """

    method: Method = "whitening"
    layers: int = 1
    trust_labels: bool | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise WrongUsageError(f"method is {self.method!r}; give one of {', '.join(METHODS)}")
        if self.layers not in (1, 2):
            raise WrongUsageError(f"layers is {self.layers}; give 1 or 2")
        if self.layers == 2 and self.method != "margin":
            raise WrongUsageError("a head of two layers needs the method margin")
