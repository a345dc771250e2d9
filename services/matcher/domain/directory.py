"""The CRM in memory: the records of all tenants, and which message of a key counts."""

from sys import intern

from shared.keys import RecordKey
from shared.records import AnyRecord

from .active_rules import ActiveRules
from .directory_entry import DirectoryEntry, RecordRef, SourcePartition
from .tenant_directory import DirectoryChange, TenantDirectory


class Directory:
    """The records of all tenants. It decides which message of a key counts.

    What counts does not depend on the order in which partitions are read: the last message of the lowest
    partition that has one. While that message is invalid there is no such record.

    Attributes:
        version_decreases: number of records that came with a lower version than the one before; they
            count all the same.
    """

    def __init__(self, rules: ActiveRules) -> None:
        self.version_decreases = 0
        self.rules = rules
        self._tenants: dict[str, TenantDirectory] = {}
        self._entries_by_source: dict[RecordKey, dict[SourcePartition, DirectoryEntry | None]] = {}
        """Only keys with messages in several partitions or an invalid one; None: the message is invalid."""

    def __len__(self) -> int:
        return sum(len(tenant) for tenant in self._tenants.values())

    @property
    def backward_reads(self) -> int:
        """Number of lookups that the caches of all tenants could not answer."""
        return sum(tenant.backward_reads for tenant in self._tenants.values())

    @property
    def tenants(self) -> list[str]:
        """The tenants that have records, sorted."""
        return sorted(name for name, tenant in self._tenants.items() if len(tenant))

    @property
    def duplicate_keys(self) -> int:
        """Number of keys found in more than one partition."""
        return sum(len(entries) > 1 for entries in self._entries_by_source.values())

    def for_tenant(self, tenant: str) -> TenantDirectory:
        """The records of one tenant; an empty directory for an unknown tenant."""
        return self._tenants.get(tenant) or TenantDirectory(tenant, self.rules)

    def is_invalid(self, key: RecordKey) -> bool:
        """True when there is no such record because its last message is invalid."""
        entries = self._entries_by_source.get(key)
        return entries is not None and entries[min(entries)] is None

    def upsert(self, key: RecordKey, record: AnyRecord, source: SourcePartition) -> DirectoryChange:
        """Applies a record message."""
        entry = DirectoryEntry.create(record, self.rules, source)
        return self._apply(key, source, {source: entry})

    def delete(self, key: RecordKey, source: SourcePartition) -> DirectoryChange:
        """Applies a tombstone."""
        return self._apply(key, source, {})

    def mark_invalid(self, key: RecordKey, source: SourcePartition) -> DirectoryChange:
        """Applies a message that is not a valid record."""
        return self._apply(key, source, {source: None})

    def _apply(
        self,
        key: RecordKey,
        source: SourcePartition,
        after: dict[SourcePartition, DirectoryEntry | None],
    ) -> DirectoryChange:
        ref = RecordRef(intern(key.type), intern(key.id))
        tenant = self._tenants.get(key.tenant)
        if tenant is None:
            tenant = self._tenants[key.tenant] = TenantDirectory(key.tenant, self.rules)
        known = tenant.find_entry(ref)
        entries = self._entries_by_source.pop(key, {known.source: known} if known else {})
        old, new = entries.pop(source, None), after.get(source)
        if old and new and (new.version or 0) < (old.version or 0):
            self.version_decreases += 1
        entries |= after
        if len(entries) > 1 or None in entries.values():
            self._entries_by_source[key] = entries
        return tenant.replace_entry(ref, entries[min(entries)] if entries else None)
