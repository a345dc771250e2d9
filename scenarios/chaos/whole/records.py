"""A small CRM and its changes, chosen by a seeded generator.

The contacts have the addresses of the outsiders that write to the mailboxes (`mail_changes.OUTSIDERS`).
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

from scenarios.chaos.changes import ChangeTable
from scenarios.chaos.mail_changes import OUTSIDERS

from .join import RecordId

PROBE = "probe@fabrikam.example"
"""Writes after each fault, until the mail is suggested again; its contact never changes."""
PROBE_RECORD: RecordId = ("contact", "probe")
ADDRESSES = [person["address"] for person in OUTSIDERS]
CONTACTS = [f"c{number}" for number in range(len(ADDRESSES))]
ACCOUNTS, OPPORTUNITIES, LEADS, PROJECTS = (
    ["a0", "a1", "a2"],
    ["o0", "o1", "o2", "o3"],
    ["l0", "l1"],
    ["p0", "p1"],
)


class RecordChanges:
    """The records of a tenant, and what may happen to them.

    Args:
        tenant: its id.
        random: makes all choices.
        readers: the users of whom one remains a reader of a record that is closed.

    Attributes:
        records: as they are published, or about to be.
        changed: what the last change has to publish: record and whether it is deleted.
    """

    def __init__(self, tenant: str, random: Random, readers: Sequence[str]) -> None:
        self._tenant = tenant
        self._random = random
        self._readers = list(readers)
        self.records: dict[RecordId, dict[str, Any]] = {}
        self._deleted: dict[RecordId, dict[str, Any]] = {}
        self.changed: list[tuple[dict[str, Any], bool]] = []
        self._number = 0

    def create(self) -> None:
        """Make the first records, each related to some of the outsiders."""
        choose = self._random.choice
        for number, (id_, address) in enumerate(zip(CONTACTS, ADDRESSES, strict=True)):
            self._put("contact", id_, emails=[address], parent_account_id=ACCOUNTS[number % len(ACCOUNTS)])
        self._put(*PROBE_RECORD, emails=[PROBE])
        for id_ in ACCOUNTS:
            self._put("account", id_, primary_contact_id=choose(CONTACTS), emails=[choose(ADDRESSES)])
        for id_ in LEADS:
            self._put("lead", id_, contact={"name": "L", "email": choose(ADDRESSES)})
        for id_ in OPPORTUNITIES:
            stakeholders = self._random.sample(CONTACTS, 2)
            self._put(
                "opportunity",
                id_,
                contact_id=choose(CONTACTS),
                stakeholder_ids=stakeholders,
                account_id=choose(ACCOUNTS),
            )
        for id_ in PROJECTS:
            self._put("project", id_, lookups={"customer": {"type": "account", "id": choose(ACCOUNTS)}})

    def table(self) -> ChangeTable:
        """Name of a change -> its weight, and the change."""
        return {
            "stakeholder added": (4, self.add_stakeholder),
            "stakeholder removed": (2, self.remove_stakeholder),
            "address of a contact changed": (3, self.change_address),
            "address of an account changed": (1, self.change_account_address),
            "contact moved to another account": (3, self.move_contact),
            "primary contact changed": (1, self.change_primary_contact),
            "lead's Contact section changed": (2, self.change_lead),
            "lead linked to an opportunity": (1, self.link_lead),
            "lookup changed": (2, self.change_lookup),
            "record deleted": (2, self.delete),
            "record published again": (2, self.restore),
            "record closed": (3, self.close),
            "record opened": (3, self.open),
            "record renamed": (2, self.rename),
        }

    # relations

    def add_stakeholder(self) -> bool:
        return self._change(
            "opportunity", lambda old: {"stakeholder_ids": [*old["stakeholder_ids"], self._contact()]}
        )

    def remove_stakeholder(self) -> bool:
        return self._change("opportunity", lambda old: {"stakeholder_ids": old["stakeholder_ids"][1:]})

    def move_contact(self) -> bool:
        return self._change("contact", lambda _: {"parent_account_id": self._random.choice(ACCOUNTS)})

    def change_primary_contact(self) -> bool:
        return self._change("account", lambda _: {"primary_contact_id": self._contact()})

    def link_lead(self) -> bool:
        return self._change("opportunity", lambda _: {"lead_id": self._random.choice(LEADS)})

    def change_lookup(self) -> bool:
        type_, ids = self._random.choice([("account", ACCOUNTS), ("contact", CONTACTS)])
        return self._change(
            "project", lambda _: {"lookups": {"customer": {"type": type_, "id": self._random.choice(ids)}}}
        )

    # addresses

    def change_address(self) -> bool:
        """A contact gets another Email; sometimes one that nobody writes from."""
        number = self._random.randint(1, 2)
        addresses = self._random.sample([*ADDRESSES, "nobody@northwind.example"], number)
        return self._change("contact", lambda _: {"emails": addresses})

    def change_account_address(self) -> bool:
        return self._change("account", lambda _: {"emails": [self._address()]})

    def change_lead(self) -> bool:
        return self._change("lead", lambda _: {"contact": {"name": "L", "email": self._address()}})

    # the records themselves

    def delete(self) -> bool:
        chosen = self._choose()
        self._deleted[chosen] = self.records.pop(chosen)
        self.changed.append((self._deleted[chosen], True))
        return True

    def restore(self) -> bool:
        if not self._deleted:
            return False
        chosen = self._random.choice(sorted(self._deleted))
        self._publish(chosen, self._deleted.pop(chosen))
        return True

    def close(self) -> bool:
        """Only one user may read it from now on."""
        chosen = self._choose()
        readers = [f"user:{self._random.choice(self._readers)}"]
        self._publish(chosen, self.records[chosen] | {"readers": readers})
        return True

    def open(self) -> bool:
        closed = sorted(key for key, record in self.records.items() if record["readers"] != ["*"])
        if not closed:
            return False
        chosen = self._random.choice(closed)
        self._publish(chosen, self.records[chosen] | {"readers": ["*"]})
        return True

    def rename(self) -> bool:
        chosen = self._choose()
        self._publish(chosen, self.records[chosen] | {"name": f"Renamed {self._number}"})
        return True

    # parts

    def _change(self, type_: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> bool:
        """Change a record of a type, if there is one."""
        there = sorted(key for key in self.records if key[0] == type_ and key != PROBE_RECORD)
        if not there:
            return False
        chosen = self._random.choice(there)
        self._publish(chosen, self.records[chosen] | change(self.records[chosen]))
        return True

    def _put(self, type_: str, id_: str, **fields: Any) -> None:
        record = {
            "tenant": self._tenant,
            "type": type_,
            "id": id_,
            "name": f"{type_} {id_}",
            "readers": ["*"],
        }
        self._publish((type_, id_), record | fields)

    def _publish(self, key: RecordId, record: dict[str, Any]) -> None:
        self._number += 1
        modified = datetime.now(UTC).isoformat()
        self.records[key] = record | {"version": self._number, "modified_on": modified}
        self.changed.append((self.records[key], False))

    def _choose(self) -> RecordId:
        return self._random.choice(sorted(key for key in self.records if key != PROBE_RECORD))

    def _contact(self) -> str:
        return self._random.choice(CONTACTS)

    def _address(self) -> str:
        return self._random.choice(ADDRESSES)


def all_record_ids() -> Iterator[RecordId]:
    """Every record that may ever be there."""
    yield PROBE_RECORD
    for type_, ids in (
        ("contact", CONTACTS),
        ("account", ACCOUNTS),
        ("opportunity", OPPORTUNITIES),
        ("lead", LEADS),
        ("project", PROJECTS),
    ):
        yield from ((type_, id_) for id_ in ids)
