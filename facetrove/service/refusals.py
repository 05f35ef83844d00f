"""Refusals: every error of the service as one envelope of code, message and request id.

Errors of the program (`FaceTroveError`) become refusals here. Their messages may name folders of
the server, which are replaced by what they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faces.core.errors import (
    BusyError,
    ContractMismatchError,
    ContradictionError,
    CorruptFileError,
    FaceTroveError,
    ModelUnavailableError,
    WrongUsageError,
    first_line,
)


class RefusedError(Exception):
    """An error that is answered instead of the result of a request.

    Attributes:
        status: HTTP status code.
        code: short name of the error, for programs.
        message: one sentence that says what to do, for people.
        headers: further headers of the answer.
    """

    def __init__(
        self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})

    def to_json(self, request_id: str) -> dict[str, Any]:
        """Return the envelope that is answered."""
        return {
            "error": {"code": self.code, "message": self.message, "request_id": request_id},
        }


_KINDS: tuple[tuple[type[FaceTroveError], int, str], ...] = (
    (ContradictionError, 422, "contradiction"),
    (WrongUsageError, 422, "wrong_usage"),
    (ContractMismatchError, 409, "contract_mismatch"),
    (BusyError, 409, "busy"),
    (ModelUnavailableError, 503, "model_unavailable"),
    (CorruptFileError, 500, "corrupt_file"),
    (FaceTroveError, 422, "not_possible"),
)
"""Status and code of each kind of error, of which the first that fits counts."""

SERVER_ERROR = "the server failed on this request; its log has the request id"


@dataclass(frozen=True)
class HiddenPaths:
    """The paths of the server that no answer names.

    Attributes:
        words: what stands for each path, by the path.
    """

    words: Mapping[str, str]

    @classmethod
    def of(cls, paths: Mapping[str, Path | None]) -> HiddenPaths:
        """Hide the paths that are given by what they are, such as {"index": path}."""
        found: dict[str, str] = {}
        for word, path in paths.items():
            if path is not None:
                found |= dict.fromkeys({str(path), str(path.absolute())}, word)
        return cls(dict(sorted(found.items(), key=lambda item: -len(item[0]))))

    def hidden(self, text: str) -> str:
        """Return a text with what they are in place of the paths."""
        for path, word in self.words.items():
            # Whole paths alone: an index may be called `i`.
            named = rf"(?<![\w./-])({re.escape(word)} )?{re.escape(path)}(?![\w-])"
            text = re.sub(named, f"the {word}", text)
        return text

    def hidden_in(self, document: Any) -> Any:
        """Return a document with what they are in place of the paths that stand in it alone."""
        if isinstance(document, dict):
            return {self.hidden_in(key): self.hidden_in(value) for key, value in document.items()}
        if isinstance(document, list | tuple):
            return [self.hidden_in(value) for value in document]
        is_path = isinstance(document, str) and document in self.words
        return f"the {self.words[document]}" if is_path else document

    def refusal_of(self, error: BaseException) -> RefusedError:
        """Return the refusal that stands for any error."""
        if isinstance(error, RefusedError):
            return error
        for kind, status, code in _KINDS:
            if isinstance(error, kind):
                return RefusedError(status, code, self.hidden(first_line(error)))
        if isinstance(error, MemoryError):
            return RefusedError(
                503, "out_of_memory", "the server is short of memory; try again later"
            )
        return RefusedError(500, "server_error", SERVER_ERROR)


def too_large(limit: str, message: str) -> RefusedError:
    """Return the refusal of what is over a limit of size.

    Args:
        limit: name of the limit in `ServiceLimits`.
        message: sentence that says what is over it, and what to do.
    """
    return RefusedError(413, f"over_{limit}", message)


def busy(message: str) -> RefusedError:
    """Return the refusal of what there is no room for now."""
    return RefusedError(503, "busy", message, headers={"Retry-After": "1"})


def key_reused() -> RefusedError:
    """Return the refusal of an idempotency key that was that of another request."""
    return RefusedError(
        409,
        "idempotency_key_reused",
        "this Idempotency-Key was that of another request; choose a new one",
    )


def no_such_face() -> RefusedError:
    """Return the refusal of a face id that the index does not have."""
    return RefusedError(
        404, "no_such_face", "the index holds no face of this id; search again for a current one"
    )
