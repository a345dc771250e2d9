"""A mailbox's folder tree, and what it says of the messages in it."""

from collections.abc import Iterable
from dataclasses import dataclass

DEAD = ("junkemail", "deleteditems")
"""Well-known folders in which, and below which, a message is not live."""
SENT = "sentitems"
WELL_KNOWN = (*DEAD, SENT)
"""Those whose ids must be asked for, because Graph's v1.0 folders don't say which they are."""


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders under a mailbox's root, by what they mean for a message in them."""

    live: frozenset[str] = frozenset()
    dead: frozenset[str] = frozenset()
    sent: frozenset[str] = frozenset()

    def known(self, folder: str) -> bool:
        """Was it in the tree when that was read?"""
        return folder in self.live or folder in self.dead


def tree(parents: Iterable[tuple[str, str | None]], well_known: dict[str, str]) -> Folders:
    """The folders of a mailbox.

    Args:
        parents: each folder's id and its parent's.
        well_known: the ids of the `WELL_KNOWN` folders that the mailbox has, by their names.
    """
    parent_of = dict(parents)
    dead_roots = {well_known[name] for name in DEAD if name in well_known}
    sent_root = {well_known[SENT]} if SENT in well_known else set()
    dead = frozenset(folder for folder in parent_of if _at_or_below(folder, dead_roots, parent_of))
    sent = frozenset(folder for folder in parent_of if _at_or_below(folder, sent_root, parent_of))
    return Folders(live=frozenset(parent_of) - dead, dead=dead, sent=sent)


def _at_or_below(folder: str | None, roots: set[str], parent_of: dict[str, str | None]) -> bool:
    seen: set[str] = set()
    while folder is not None and folder not in seen:
        if folder in roots:
            return True
        seen.add(folder)
        folder = parent_of.get(folder)
    return False
