"""The parts of a record that the directory keeps: those that the rules read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from sys import intern
from typing import NamedTuple

from shared.addresses import normalise
from shared.records import AnyRecord, Lead, modified_timestamp

from .active_rules import ActiveRules
from .rules import CONTACT_SECTION, EMAIL, Ending


class RecordRef(NamedTuple):
    """A record within its tenant."""

    type: str
    id: str


class SourcePartition(NamedTuple):
    """The partition from which a record was read."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """The parts of a record that the directory keeps.

    Attributes:
        modified: seconds since 1970; minus infinity when the record has no `modified_on`.
        emails: normalised; the first is the record's Email, None where a position is null or blank.
        contact_section: the normalised address in a lead's Contact section.
        links: the ids in each of its relations, by `ActiveRules.link_index`: None for no id, the id itself
            for one, a tuple for several. This form takes the least memory.
    """

    modified: float
    emails: tuple[str | None, ...]
    contact_section: str | None
    links: tuple[str | tuple[str, ...] | None, ...]
    version: int | None
    source: SourcePartition

    @classmethod
    def create(cls, record: AnyRecord, rules: ActiveRules, source: SourcePartition) -> "DirectoryEntry":
        """The entry of a published record."""
        contact_section = record.contact.email if isinstance(record, Lead) and record.contact else None
        links: list[str | tuple[str, ...] | None] = []
        for relation in rules.relations_of(record.type):
            ids = tuple(dict.fromkeys(intern(id_) for id_ in relation.read_ids(record) if id_))
            links.append(None if not ids else ids[0] if len(ids) == 1 else ids)
        return cls(
            modified_timestamp(record),
            tuple(_normalise_or_none(email) for email in record.emails or ()),
            _normalise_or_none(contact_section),
            tuple(links),
            record.version,
            source,
        )

    @property
    def distinct_addresses(self) -> Iterable[str]:
        """Each address in any of its e-mail fields, once."""
        return dict.fromkeys(address for address in (*self.emails, self.contact_section) if address)

    def addresses_in(self, ending: Ending) -> tuple[str, ...]:
        """The addresses in one of its e-mail fields."""
        if ending is CONTACT_SECTION:
            return (self.contact_section,) if self.contact_section else ()
        emails = self.emails[:1] if ending is EMAIL else self.emails
        if None not in emails:
            return emails  # type: ignore[return-value]  # no None in it
        return tuple(email for email in emails if email)

    def linked_ids(self, link_index: int) -> Sequence[str]:
        """The ids in one of its relations."""
        ids = self.links[link_index]
        if ids is None:
            return ()
        return (ids,) if isinstance(ids, str) else ids


def _normalise_or_none(email: str | None) -> str | None:
    return intern(normalise(email)) or None if email else None
