"""Refuse to compute in a process that was forked from one that had computed.

The threads of FAISS, OpenMP and the networks' engines are not there in a forked process, which
would wait for them for ever.
"""

from __future__ import annotations

import os

from faces.core.errors import WrongUsageError


class _Threads:
    """Whether this process, or one that it was forked from, has started threads."""

    are_started = False
    are_lost = False


def starting_threads() -> None:
    """Note that libraries start their threads now; call before each computation that uses them.

    Raises:
        WrongUsageError: this process was forked from one whose libraries had started theirs.
    """
    if _Threads.are_lost:
        raise WrongUsageError(
            "this process was forked from one that had searched or embedded faces, whose threads "
            "are not in the child; start child processes by multiprocessing's 'spawn', or before "
            "the first search (docs/search.md, Several processes)"
        )
    _Threads.are_started = True


def _note_fork() -> None:
    _Threads.are_lost = _Threads.are_started


os.register_at_fork(after_in_child=_note_fork)
