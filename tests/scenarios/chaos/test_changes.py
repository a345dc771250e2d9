"""The seeded changes and faults, on a simulator alone."""

from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest

from scenarios.chaos.changes import Changes
from scenarios.chaos.injected_faults import InjectedFaults
from scenarios.chaos.mail_changes import MailChanges
from scenarios.chaos.meeting_changes import MeetingChanges
from scenarios.chaos.normaliser import Owner
from scenarios.chaos.timelines import END, timelines
from simulator.control.client import TenantControl
from simulator.server import running

COUNT = 250


class Company:
    """Four mailboxes in a tenant of their own, and their changes."""

    def __init__(self, tenant: TenantControl, seed: int) -> None:
        self.tenant = tenant
        random = Random(seed)
        self.users = {
            tenant.user(f"user-{n}@contoso.example")["oid"]: f"user-{n}@contoso.example" for n in range(4)
        }
        self.mail = MailChanges(tenant, random, self.users, (5.0, 60.0))
        self.meetings = MeetingChanges(tenant, random, self.users, (5.0, 60.0))
        self.changes = Changes(random, self.mail.table(), self.meetings.table())
        self.mail.create_folders()
        self.history: list[dict[str, Any]] = []

    def choices(self) -> list[tuple[Any, ...]]:
        """The history without what differs between two runs: times and ids."""
        mailboxes = list(self.users)
        numbers: dict[str, int] = {}
        return [
            (
                mailboxes.index(each["mailbox"]),
                numbers.setdefault(each["item"], len(numbers)),
                _shape(each["state"]),
            )
            for each in self.history
        ]


def _shape(state: dict[str, Any] | None) -> object:
    match state:
        case None | {"kind": "folders"}:
            return state is None
        case {"kind": "message"}:
            return state["subject"], state["draft"], state["sensitivity"], state["from"], state["to"]
        case _:
            return [
                (each["subject"], each["attendees"], each["cancelled"]) for each in state["occurrences"][:1]
            ]


@pytest.fixture(scope="module")
def companies(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two with the same seed, and one with another; each has changed `COUNT` times."""
    folder: Path = tmp_path_factory.mktemp("simulator")
    with running(folder) as server:
        server.client.start_history()
        made = [Company(server.client.tenant(str(uuid4())), seed) for seed in (1, 1, 2)]
        for company in made:
            for _ in range(COUNT):
                company.changes.make()
        for entry in server.client.history():
            next(each for each in made if each.tenant.id == entry["tenant"]).history.append(entry)
        yield made


def test_seed_makes_the_same_choices_again(companies: list[Company]) -> None:
    first, again, other = (company.choices() for company in companies)
    assert first == again
    assert first != other


def test_changes_are_of_every_kind(companies: list[Company]) -> None:
    for company in companies:
        kinds = company.mail.table().keys() | company.meetings.table().keys()
        assert company.changes.made.keys() == kinds
        assert company.changes.made.total() == COUNT


def test_items_leave_and_return_and_enter_by_the_clock(companies: list[Company]) -> None:
    [company, *_] = companies
    owners = {
        oid: Owner(company.tenant.id, oid, frozenset({address})) for oid, address in company.users.items()
    }
    found = timelines(company.history, owners).values()
    returns = [each for each in found if [bool(s.expected) for s in each[1:]].count(True) > 1]
    enters = [
        segment
        for each in found
        for before, segment in pairwise(each)
        if segment.expected
        and segment.expected.enters_by_clock
        and segment.start == segment.expected.visible_from
        and before.expected is None
    ]
    assert len(returns) > 5
    assert len(enters) > 3
    assert all(each[-1].end == END for each in found)


def test_every_fault_is_scheduled_and_accepted_by_the_simulator(companies: list[Company]) -> None:
    [company, *_] = companies
    faults = InjectedFaults(company.tenant, Random(1), list(company.users), company.mail, short=1.0, long=5.0)
    scheduled = faults.schedule(150, len(faults.table()))
    assert sorted(name for names in scheduled.values() for name in names) == sorted(faults.table())
    assert max(scheduled) < 150
    for _ in range(6):
        for name in faults.table():
            faults.inject(name)
    assert faults.injected == dict.fromkeys(faults.table(), 6)
