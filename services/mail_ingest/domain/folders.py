"""A mailbox's folder tree, and what it means for the messages in it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

DELETED = "deleteditems"
DEAD = ("junkemail", DELETED)
"""Well-known folders in which, and below which, a message is not live."""
SENT = "sentitems"
WELL_KNOWN = (*DEAD, SENT)
"""Folders whose ids are read by name: Graph v1.0 does not mark them in the list of folders."""


@dataclass(frozen=True, slots=True)
class Folders:
    """The ids of the folders under a mailbox's root, by their meaning for a message in them.

    Attributes:
        sent: Sent Items and the folders below it; they are live or dead, too.
        deleted: Deleted Items and the folders below it; they are dead, too.
        well_known: name -> id of the `WELL_KNOWN` folders that the mailbox has.
    """

    live: frozenset[str] = frozenset()
    dead: frozenset[str] = frozenset()
    sent: frozenset[str] = frozenset()
    deleted: frozenset[str] = frozenset()
    well_known: Mapping[str, str] = field(default_factory=dict)

    def contains(self, folder: str) -> bool:
        """True when the folder was in the tree when the tree was read."""
        return folder in self.live or folder in self.dead


def folder_tree(parents: Iterable[tuple[str, str | None]], well_known: Mapping[str, str]) -> Folders:
    """The folders of a mailbox.

    Args:
        parents: each folder's id and the id of its parent.
        well_known: name -> id of the `WELL_KNOWN` folders that the mailbox has.
    """
    parent_of = dict(parents)

    def below(*names: str) -> frozenset[str]:
        roots = {well_known[name] for name in names if name in well_known}
        return frozenset(folder for folder in parent_of if _is_at_or_below(folder, roots, parent_of))

    dead = below(*DEAD)
    return Folders(
        live=frozenset(parent_of) - dead,
        dead=dead,
        sent=below(SENT),
        deleted=below(DELETED),
        well_known=well_known,
    )


def _is_at_or_below(folder: str | None, roots: set[str], parent_of: dict[str, str | None]) -> bool:
    seen: set[str] = set()
    while folder is not None and folder not in seen:
        if folder in roots:
            return True
        seen.add(folder)
        folder = parent_of.get(folder)
    return False
