"""The names of people, sorted: who comes after whom, and whose name has a word that begins so."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from itertools import islice
from unicodedata import normalize

MAX_WORDS = 20
"""Words of a name by which it is found: more would only be a burden."""

MAX_PREFIX = 100
"""Characters of a name, from each of its words on, by which it is found."""

FEW_CHANGES = 500
"""Up to this many names are put in their places one by one; more are sorted together."""

Key = tuple[str, int]
"""A name as it is compared, and the number of the person."""


def name_key(name: str) -> str:
    """Return a name as it is compared: in Unicode NFC, without case, single spaces."""
    return normalize("NFC", " ".join(name.split())).casefold()


class NameOrder:
    """The names of people, which never change: a change makes another order.

    Args:
        names: name by the person's number.
    """

    def __init__(self, names: Mapping[int, str]) -> None:
        self.names = dict(names)
        self._sorted = sorted((name_key(name), number) for number, name in names.items())
        self._words = sorted(word for key in self._sorted for word in _words(key))

    def changed(self, changes: Mapping[int, str | None]) -> NameOrder:
        """Return the order after some people got another name, or None for none.

        Args:
            changes: the new name by the person's number.
        """
        new = {n: name for n, name in changes.items() if name != self.names.get(n)}
        if not new:
            return self
        names = {**self.names, **{number: name for number, name in new.items() if name is not None}}
        for number in [number for number, name in new.items() if name is None]:
            del names[number]
        if len(new) > FEW_CHANGES:
            return NameOrder(names)
        order = NameOrder({})
        order.names, order._sorted, order._words = names, list(self._sorted), list(self._words)
        for number, name in new.items():
            if number in self.names:
                order._remove((name_key(self.names[number]), number))
            if name is not None:
                order._add((name_key(name), number))
        return order

    def key_of(self, number: int) -> Key | None:
        """Return the key of a person by which names are sorted; None: the person has no name."""
        name = self.names.get(number)
        return None if name is None else (name_key(name), number)

    def after(self, key: Key) -> Iterator[int]:
        """Yield the numbers of the people who come after a key, in the order of their names."""
        start = bisect_left(self._sorted, (key[0], key[1] + 1))
        return (number for _, number in islice(self._sorted, start, None))

    def beginning_with(self, prefix: str) -> set[int]:
        """Return the numbers of the people whose name has a word from which on it begins so.

        Args:
            prefix: beginning of a word, or of several in a row, in any case.
        """
        start = name_key(prefix)[:MAX_PREFIX]
        found = set()
        for word, number in islice(self._words, bisect_left(self._words, (start, 0)), None):
            if not word.startswith(start):
                break
            found.add(number)
        return found

    def _add(self, key: Key) -> None:
        insort(self._sorted, key)
        for word in _words(key):
            insort(self._words, word)

    def _remove(self, key: Key) -> None:
        del self._sorted[bisect_left(self._sorted, key)]
        for word in _words(key):
            del self._words[bisect_left(self._words, word)]


def _words(key: Key) -> list[Key]:
    """Return a name from each of its words on."""
    text, number = key
    starts = [0, *(place + 1 for place, letter in enumerate(text) if letter == " ")]
    return [(text[start : start + MAX_PREFIX], number) for start in starts[:MAX_WORDS]]
