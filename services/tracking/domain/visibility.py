"""Who may read a record's timeline.

A record names its readers: `*` (all users of the tenant), `user:<oid>`, `group:<id>`. A record that
names none has the readers of its tenant's setting. Readers are read from the record each time and
never copied.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.keys import MailboxKey, RecordKey

ALL_USERS = "*"


@dataclass(frozen=True, slots=True)
class User:
    """A signed-in user, as the access token describes the user.

    Attributes:
        groups: empty when the token has too many groups to list them (`groups_missing`).
        admin: the user has the role `AutoCapture.Admin`.
    """

    tenant: str
    oid: str
    name: str | None = None
    groups: frozenset[str] = frozenset()
    groups_missing: bool = False
    admin: bool = False

    @property
    def mailbox_key(self) -> MailboxKey:
        """The user's own mailbox."""
        return MailboxKey(self.tenant, self.oid)

    @property
    def reader_entries(self) -> tuple[str, ...]:
        """Every entry of a list of readers that includes the user."""
        return ALL_USERS, f"user:{self.oid}", *(f"group:{group}" for group in sorted(self.groups))


class RecordAbsence(StrEnum):
    """Why there is no record although something is known of it."""

    DELETED = "deleted"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class KnownRecord:
    """A record as tracking knows it.

    Attributes:
        readers: None when the record names none. An absent record keeps its last readers; one that was never
            known otherwise has no readers.
        name: None also for an absent record.
    """

    key: RecordKey
    name: str | None = None
    readers: tuple[str, ...] | None = None
    modified_on: datetime | None = None
    absence: RecordAbsence | None = None


@dataclass(frozen=True, slots=True)
class DefaultReaders:
    """The readers of records that name none.

    Attributes:
        by_tenant: tenant id -> readers; `*` for all other tenants.
    """

    by_tenant: Mapping[str, Sequence[str]]

    def for_tenant(self, tenant: str) -> tuple[str, ...]:
        """The setting of one tenant."""
        return tuple(self.by_tenant.get(tenant, self.by_tenant[ALL_USERS]))

    def resolve(self, record: KnownRecord) -> tuple[str, ...]:
        """The readers of a record, never absent."""
        return record.readers if record.readers is not None else self.for_tenant(record.key.tenant)

    def may_read(self, user: User, record: KnownRecord) -> bool:
        """True when the user may know of the record; for an absent record its last readers count."""
        return user.tenant == record.key.tenant and is_reader(user, self.resolve(record))


def is_reader(user: User, readers: Collection[str]) -> bool:
    """True when the readers, of the user's own tenant, include the user."""
    return any(entry in readers for entry in user.reader_entries)
