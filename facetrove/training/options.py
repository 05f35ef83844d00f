"""The options that all kinds of training have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from faces.core.errors import WrongUsageError
from faces.core.named import require_no_address
from facetrove.evaluation.labels import FaceChoice


@dataclass(frozen=True)
class TrainingOptions:
    """What all kinds of training have in common; the command's options have the same names.

    Attributes:
        people: `folder`, or the column that names the person in a photo; None: `person`.
        face: which of a photo's faces is the labelled one; see `choose_faces`.
        seed: seed of the split, the network's first weights, the order of faces and the corruptions
            they are augmented with, from 0 to 2^32 - 1. The same seed gives the same file on one
            machine.
        epochs: maximum number of epochs, 1 or more; None: the default of the kind of network.
        held_out: share of the faces, by person, that stop the training and are measured in the end,
            above 0 and at most 0.5.
        threads: number of processor cores to use; None: all.
        licence: the licence that the user gives the network, for its card.

    Raises:
        WrongUsageError: an option is outside its range.
    """

    people: str | None = None
    face: FaceChoice = "largest"
    seed: int = 0
    epochs: int | None = None
    held_out: float = 0.2
    threads: int | None = None
    licence: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise WrongUsageError(f"seed is {self.seed}; give a number from 0 to 4294967295")
        if self.epochs is not None and self.epochs < 1:
            raise WrongUsageError(f"epochs is {self.epochs}; give 1 or more")
        if not 0 < self.held_out <= 0.5:
            raise WrongUsageError(
                f"held_out is {self.held_out}; give a share above 0 and at most 0.5"
            )


def require_model_path(path: str | Path) -> Path:
    """Return the absolute path of a TOML file that training may write.

    Raises:
        WrongUsageError: the name does not end in .toml, or the folder does not exist.
    """
    require_no_address(path)
    path = Path(path).absolute()
    if path.suffix.lower() != ".toml":
        raise WrongUsageError(
            f"{path.name} does not end in .toml; name the file that describes the network, such as "
            "my_model.toml, which its ONNX file and card will lie beside"
        )
    if not path.parent.is_dir():
        raise WrongUsageError(f"folder {path.parent} does not exist; make it first")
    return path
