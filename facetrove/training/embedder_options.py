"""The options of an embedder's training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from faces.core.errors import WrongUsageError

MarginKind = Literal["arcface", "cosface", "adaface"]

MARGIN_KINDS: tuple[MarginKind, ...] = get_args(MarginKind)

DEFAULT_MARGINS: dict[MarginKind, float] = {"arcface": 0.3, "cosface": 0.2, "adaface": 0.3}
"""Margins where none is given: smaller than their authors' 0.5, 0.35 and 0.4, with which
a small network on few people does not begin to learn."""

EPOCHS = 40
"""Maximum number of epochs where none is given."""


@dataclass(frozen=True)
class EmbedderOptions:
    """How an embedder is trained; the command's options have the same names.

    Attributes:
        dimension: number of dimensions of an embedding, 2 to 4,096.
        loss: the margin's kind; see `facetrove.training.networks.margins`.
        margin: the margin, above 0 and below 1; None: the kind's default.
        scale: the largest logit, above 0.
        sub_centres: number of centres of a person, 1 or more; with 2 or 3, wrong labels harm less.
        augment: whether crops are mirrored, moved and corrupted at random.
        min_photos: minimum number of photos of a person, 2 or more; others are left out.
        batch_size: number of faces of a batch, 2 or more.
        per_person: how many faces of a person a batch has, 1 or more, at most `batch_size`; people
            then come equally often. None: every face comes once an epoch.
        trust_labels: whether to learn from doubtful labels like from others; None: only where few
            are doubtful, see `facetrove.training.label_support`.

    Raises:
        WrongUsageError: an option is outside its range.
    """

    dimension: int = 128
    loss: MarginKind = "arcface"
    margin: float | None = None
    scale: float = 16.0
    sub_centres: int = 1
    augment: bool = True
    min_photos: int = 2
    batch_size: int = 64
    per_person: int | None = None
    trust_labels: bool | None = None

    def __post_init__(self) -> None:
        if self.loss not in MARGIN_KINDS:
            raise WrongUsageError(f"loss is {self.loss!r}; give one of {', '.join(MARGIN_KINDS)}")
        least = {"dimension": 2, "sub_centres": 1, "min_photos": 2, "batch_size": 2}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise WrongUsageError(f"{name} is {getattr(self, name)}; give {minimum} or more")
        if self.per_person is not None and not 1 <= self.per_person <= self.batch_size:
            raise WrongUsageError(
                f"per_person is {self.per_person}; give a number from 1 to the batch size "
                f"({self.batch_size})"
            )
        if self.dimension > 4096:
            raise WrongUsageError(f"dimension is {self.dimension}; give at most 4096")
        if (self.margin is not None and not 0 < self.margin < 1) or self.scale <= 0:
            raise WrongUsageError(
                f"margin is {self.margin} and scale {self.scale}; give a margin above 0 and below "
                "1, and a scale above 0"
            )

    @property
    def chosen_margin(self) -> float:
        """The margin that is used."""
        return DEFAULT_MARGINS[self.loss] if self.margin is None else self.margin
