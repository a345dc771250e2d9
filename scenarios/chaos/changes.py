"""Changes of all kinds, one after another."""

from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import TypeAlias

ChangeTable: TypeAlias = Mapping[str, tuple[int, Callable[[], bool]]]
"""Name of a change -> its weight, and the change; it returns False when it is impossible now."""


class Changes:
    """Makes changes of all kinds, each about as often as its weight."""

    def __init__(self, random: Random, *tables: ChangeTable) -> None:
        self._random = random
        self._table = {name: change for table in tables for name, change in table.items()}
        self.made: Counter[str] = Counter()
        self._to_come: list[str] = []

    def make(self) -> None:
        """Make one change; one that is impossible now is replaced by the next one."""
        while True:
            name = self._next()
            if self._table[name][1]():
                self.made[name] += 1
                return

    def _next(self) -> str:
        """The kinds come shuffled, so that also a short run has all of them."""
        if not self._to_come:
            self._to_come = [name for name, (weight, _) in self._table.items() for _ in range(weight)]
            self._random.shuffle(self._to_come)
        return self._to_come.pop()
