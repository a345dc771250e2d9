"""Who may read a record's timeline.

A record names its readers: `*` (everybody of the tenant), `user:<oid>`, `group:<id>`. One that names
none has its tenant's setting. Readers are asked of the record each time, never copied.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.records import RecordKey

EVERYBODY = "*"


@dataclass(frozen=True, slots=True)
class User:
    """Who asks, as her token says.

    Attributes:
        groups: empty where the token had too many to carry (`groups_missing`).
        admin: has the role `AutoCapture.Admin`.
    """

    tenant: str
    oid: str
    name: str | None = None
    groups: frozenset[str] = frozenset()
    groups_missing: bool = False
    admin: bool = False

    @property
    def reads_as(self) -> tuple[str, ...]:
        """Every reader entry that means her."""
        return EVERYBODY, f"user:{self.oid}", *(f"group:{group}" for group in sorted(self.groups))


class Gone(StrEnum):
    """Why a record is not there, though something is known of it."""

    DELETED = "deleted"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Record:
    """A record as tracking knows it; one that is gone keeps its last readers and has no name."""

    key: RecordKey
    name: str | None = None
    readers: tuple[str, ...] | None = None
    modified_on: datetime | None = None
    gone: Gone | None = None


@dataclass(frozen=True, slots=True)
class DefaultReaders:
    """Each tenant's readers for the records that name none."""

    by_tenant: Mapping[str, Sequence[str]]

    def of(self, tenant: str) -> tuple[str, ...]:
        """The setting of one tenant."""
        return tuple(self.by_tenant.get(tenant, self.by_tenant[EVERYBODY]))

    def resolved(self, record: Record) -> tuple[str, ...]:
        """Who may read this record, never absent."""
        return record.readers if record.readers is not None else self.of(record.key[0])

    def may_read(self, user: User, record: Record) -> bool:
        """May this user know of this record? She may of a gone one as long as she could last."""
        return user.tenant == record.key[0] and meets(user, self.resolved(record))


def meets(user: User, readers: Collection[str]) -> bool:
    """Is the user one of these readers, in their own tenant?"""
    return any(reader in readers for reader in user.reads_as)
