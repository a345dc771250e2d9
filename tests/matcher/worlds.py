"""Tiny worlds: a directory that a test fills in one line a record, and activities to match with it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from services.matcher.domain.active_rules import ActiveRules
from services.matcher.domain.directory import Directory
from services.matcher.domain.directory_entry import RecordRef, SourcePartition
from services.matcher.domain.matching import Matcher
from services.matcher.domain.tenant_directory import DirectoryChange
from shared.events import Activity, ActivityKind, ActivityMatched, Participant, ParticipantRole
from shared.keys import ItemKey, RecordKey
from shared.records import RECORD_MODELS, AnyRecord, CustomRecord

TENANT = "fabrikam"
MAILBOX = "ann"
NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
SOURCE = SourcePartition("records", 0)


def record(record_type: str, id_: str, **fields: Any) -> AnyRecord:
    """A record as published; `emails` may be one address."""
    emails = fields.pop("emails", ())
    fields["emails"] = (emails,) if isinstance(emails, str) else emails
    model = RECORD_MODELS.get(record_type, CustomRecord)
    return model.model_validate({"tenant": TENANT, "type": record_type, "id": id_, **fields})


def item_key(item: str) -> ItemKey:
    """The key of an item in the mailbox of all tests."""
    return ItemKey(TENANT, MAILBOX, item)


def activity(
    *participants: tuple[str, str], item: str = "item-1", tenant: str = TENANT, **fields: Any
) -> Activity:
    """An activity with participants of (role, address)."""
    return Activity(
        tenant=tenant,
        mailbox=MAILBOX,
        item=item,
        kind=ActivityKind.EMAIL,
        identity=item,
        participants=tuple(
            Participant(role=ParticipantRole(role), address=address) for role, address in participants
        ),
        **{"at": NOW, "visible_from": NOW, "visible_until": NOW + timedelta(days=3)} | fields,
    )


class World:
    """A directory with a matcher."""

    def __init__(self, rules: ActiveRules | None = None) -> None:
        self.rules = rules or ActiveRules()
        self.directory = Directory(self.rules)
        self.matcher = Matcher(self.directory)

    def upsert(self, record_type: str, id_: str, **fields: Any) -> DirectoryChange:
        """A record comes or changes."""
        return self.upsert_record(record(record_type, id_, **fields))

    def upsert_record(self, new: AnyRecord) -> DirectoryChange:
        return self.directory.upsert(new.key, new, SOURCE)

    def delete(self, record_type: str, id_: str) -> DirectoryChange:
        return self.directory.delete(RecordKey(TENANT, record_type, id_), SOURCE)

    def forwards(self, record_type: str, id_: str) -> dict[str, list[str]]:
        """Address -> names of the rules that give it to the record."""
        addresses = self.directory.for_tenant(TENANT).addresses(RecordRef(record_type, id_))
        return {address: [rule.name for rule in rules] for address, rules in addresses.items()}

    def backwards(self, address: str) -> dict[tuple[str, str], list[str]]:
        """Record -> names of the rules by which the address relates to it."""
        related = self.directory.for_tenant(TENANT).related(address)
        return {ref: [rule.name for rule in rules] for ref, rules in related}

    def match(self, *participants: tuple[str, str]) -> ActivityMatched | None:
        """The message for an activity with participants of (role, address)."""
        result = self.matcher.match(activity(*participants))
        return result.message if result else None

    def matched_records(self, *participants: tuple[str, str]) -> list[tuple[str, str]]:
        message = self.match(*participants)
        return [(match.type, match.id) for match in message.matches] if message else []
