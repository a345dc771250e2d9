"""Tiny worlds: a directory that a test fills in one line a record, and activities about it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from services.matcher.domain.directory import Directory, Ref, Touched
from services.matcher.domain.matching import Matcher
from services.matcher.domain.rules import Rules
from shared.events import Activity, ActivityMatched, Kind, Participant, Role
from shared.records import MODELS, AnyRecord, Custom

TENANT = "fabrikam"
NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
PLACE = ("records", 0)


def record(type_: str, id_: str, **fields: Any) -> AnyRecord:
    """A record as published; `emails` may be one address."""
    emails = fields.pop("emails", ())
    fields["emails"] = (emails,) if isinstance(emails, str) else emails
    return MODELS.get(type_, Custom).model_validate({"tenant": TENANT, "type": type_, "id": id_, **fields})


def activity(
    *participants: tuple[str, str], item: str = "item-1", tenant: str = TENANT, **fields: Any
) -> Activity:
    """An activity of (role, address)es."""
    return Activity(
        tenant=tenant,
        mailbox="ann",
        item=item,
        kind=Kind.EMAIL,
        identity=item,
        participants=tuple(Participant(role=Role(role), address=address) for role, address in participants),
        **{"at": NOW, "visible_from": NOW, "visible_until": NOW + timedelta(days=3)} | fields,
    )


class World:
    """A directory, and what one asks it."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.directory = Directory(self.rules)
        self.matcher = Matcher(self.directory)

    def put(self, type_: str, id_: str, **fields: Any) -> Touched:
        """A record comes or changes."""
        return self.apply(record(type_, id_, **fields))

    def apply(self, given: AnyRecord) -> Touched:
        return self.directory.apply(given.key, given, PLACE)

    def delete(self, type_: str, id_: str) -> Touched:
        return self.directory.apply((TENANT, type_, id_), None, PLACE)

    def forwards(self, type_: str, id_: str) -> dict[str, list[str]]:
        """Address -> names of the rules by which it belongs to the record."""
        return {
            address: [rule.name for rule in rules]
            for address, rules in self.directory.of(TENANT).addresses((type_, id_)).items()
        }

    def backwards(self, address: str) -> dict[Ref, list[str]]:
        """Record -> names of the rules by which the address belongs to it."""
        return {
            ref: [rule.name for rule in rules] for ref, rules in self.directory.of(TENANT).related(address)
        }

    def match(self, *participants: tuple[str, str]) -> ActivityMatched | None:
        matched = self.matcher.match(activity(*participants))
        return matched.message if matched else None

    def matches(self, *participants: tuple[str, str]) -> list[Ref]:
        message = self.match(*participants)
        return [(match.type, match.id) for match in message.matches] if message else []
