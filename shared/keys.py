"""The keys of messages and documents.

Named tuples of one shape are equal when their parts are equal, so keys of two types never share a
mapping: a mapping is annotated with one key type, and mypy holds it.
"""

from typing import NamedTuple, TypeVar


class MailboxKey(NamedTuple):
    """A mailbox: tenant id and the owner's Entra object id."""

    tenant: str
    mailbox: str


class ItemKey(NamedTuple):
    """A message or a meeting occurrence in one mailbox, by its immutable id."""

    tenant: str
    mailbox: str
    item: str

    @property
    def mailbox_key(self) -> MailboxKey:
        """The mailbox that holds the item."""
        return MailboxKey(self.tenant, self.mailbox)


class RecordKey(NamedTuple):
    """A CRM record."""

    tenant: str
    type: str
    id: str


class TrackedActivityKey(NamedTuple):
    """A tracked activity, by its id within the tenant."""

    tenant: str
    activity: str


MessageKey = MailboxKey | ItemKey | RecordKey | TrackedActivityKey
K = TypeVar("K", bound=MessageKey)


def join_key(key: MessageKey) -> str:
    """The parts of a key, joined by `/`."""
    return "/".join(key)


def split_key(key_type: type[K], text: str) -> K:
    """The key in a text that `join_key` wrote; raises ValueError for any other text.

    Only the last part may hold a `/`.
    """
    names = key_type._fields
    parts = text.split("/", len(names) - 1)
    if len(parts) != len(names) or not all(parts):
        raise ValueError(f"the key is not {'/'.join(names)}")
    return key_type(*parts)
