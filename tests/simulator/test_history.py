"""The history of items and folders, the requests that faults have answered, and the open ones."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from simulator.control.client import Simulator, TenantControl
from tests.simulator.conftest import IMMUTABLE, Graph, quoted, until

ANN, BOB = "ann@contoso.example", "bob@contoso.example"
CARLA = {"name": "Carla", "address": "carla@fabrikam.example"}


def message_path(copy: dict[str, Any]) -> str:
    return f"users/{ANN}/messages/{quoted(copy['id'])}"


@pytest.fixture
def history(simulator: Simulator, tenant: TenantControl) -> "History":
    simulator.start_history()
    return History(tenant)


class History:
    """The history of one tenant."""

    def __init__(self, tenant: TenantControl) -> None:
        self._tenant = tenant

    def of(self, item: str) -> list[Any]:
        """The states of an item."""
        return [each["state"] for each in self.entries() if each["item"] == item]

    def entries(self) -> list[dict[str, Any]]:
        return [each for each in self._tenant.simulator.history() if each["tenant"] == self._tenant.id]


def test_history_begins_with_what_is_there(simulator: Simulator, tenant: TenantControl) -> None:
    copy = tenant.send(CARLA, [ANN], subject="Before")["copies"][0]
    simulator.start_history()
    entries = History(tenant).entries()
    assert [each["state"]["kind"] for each in entries if each["mailbox"] == copy["mailbox"]] == [
        "folders",
        "message",
    ]
    assert History(tenant).of(copy["id"])[0]["subject"] == "Before"


def test_history_has_every_state_of_a_message_with_its_time(tenant: TenantControl, history: History) -> None:
    before = datetime.now(UTC)
    copy = tenant.send(CARLA, [ANN], cc=[BOB], subject="Offer", sensitivity="private")["copies"][0]
    tenant.do("/messages/change", mailbox=ANN, id=copy["id"], subject="Re: Offer")
    tenant.move(ANN, copy["id"], "junkemail")
    tenant.delete(ANN, copy["id"], hard=True)
    arrived, changed, moved, deleted = history.of(copy["id"])
    assert arrived["from"] == ["Carla", "carla@fabrikam.example"]
    assert (arrived["to"], arrived["cc"]) == ([["Ann Lee", ANN]], [["Bob Ray", BOB]])
    assert (arrived["subject"], arrived["sensitivity"]) == ("Offer", "private")
    assert changed == arrived | {"subject": "Re: Offer"}
    tree = next(each["state"] for each in history.entries() if each["mailbox"] == copy["mailbox"])
    assert moved == changed | {"folder": tree["well_known"]["junkemail"]}
    assert deleted is None
    times = [datetime.fromisoformat(each["at"]) for each in history.entries()]
    assert times == sorted(times)
    assert before <= times[-1] <= datetime.now(UTC)


def test_history_has_links_and_conversations_as_graph_has_them(
    tenant: TenantControl, history: History, graph: Graph
) -> None:
    copy = tenant.send(CARLA, [ANN], subject="Offer")["copies"][0]
    found = graph.get(message_path(copy), prefer=IMMUTABLE)
    [state] = history.of(copy["id"])
    assert (state["conversation"], state["link"]) == (found["conversationId"], found["webLink"])


def test_history_has_the_occurrences_of_a_series_as_graph_has_them(
    tenant: TenantControl, history: History, graph: Graph
) -> None:
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    booked = tenant.book(ANN, [BOB], start.isoformat(), subject="Daily", rule="FREQ=DAILY;COUNT=3")
    second = (start + timedelta(days=1)).isoformat()
    tenant.change_meeting(booked["uid"], original_start=second, subject="Moved")
    tenant.cancel(booked["uid"], start.isoformat())
    organizer = next(copy for copy in booked["copies"] if copy["is_organizer"])
    states = [[each["subject"] for each in state["occurrences"]] for state in history.of(organizer["id"])]
    assert states == [["Daily"] * 3, ["Daily", "Daily", "Moved"], ["Daily", "Moved"]]
    occurrences = history.of(organizer["id"])[-1]["occurrences"]
    for each in occurrences:
        event = graph.get(f"users/{ANN}/events/{quoted(each['item'])}", prefer=IMMUTABLE)
        assert (event["iCalUId"], event["webLink"]) == (each["uid"], each["link"])
        assert datetime.fromisoformat(event["originalStart"]) == datetime.fromisoformat(
            each["original_start"]
        )
    assert occurrences[0]["attendees"] == [["required", "Bob Ray", BOB]]
    assert occurrences[0]["organizer"] == ["Ann Lee", ANN]


def test_history_has_folder_trees(tenant: TenantControl, history: History) -> None:
    folder = tenant.do("/folders", mailbox=ANN, name="Customers")["id"]
    tenant.do("/folders/move", mailbox=ANN, folder=folder, parent="deleteditems")
    first, second = (
        each["state"] for each in history.entries() if folder in each["state"].get("parents", {})
    )
    assert first["parents"][folder] == first["well_known"]["msgfolderroot"]
    assert second["parents"][folder] == second["well_known"]["deleteditems"]


def test_categories_change_a_message(tenant: TenantControl, graph: Graph) -> None:
    copy = tenant.send(CARLA, [ANN], subject="Offer")["copies"][0]
    before = graph.get(message_path(copy), prefer=IMMUTABLE)
    tenant.do("/messages/change", mailbox=ANN, id=copy["id"], categories=["Red"])
    after = graph.get(message_path(copy), prefer=IMMUTABLE)
    assert (before["categories"], after["categories"]) == ([], ["Red"])
    assert before["changeKey"] != after["changeKey"]


def test_requests_that_a_labelled_fault_answers_are_listed(
    simulator: Simulator, tenant: TenantControl, graph: Graph
) -> None:
    copy = tenant.send(CARLA, [ANN], subject="Offer")["copies"][0]
    already = len(simulator.fault_hits())
    simulator.fault(500, item=copy["id"], label="item fails", count=1)
    simulator.fault(503, kind="folders", count=1)
    graph.get(message_path(copy), 500)
    graph.get(f"users/{ANN}/mailFolders", 503)
    graph.get(message_path(copy))
    [hit] = simulator.fault_hits()[already:]
    assert (hit["label"], hit["kind"]) == ("item fails", "message.by_id")
    assert (hit["mailbox"], hit["items"]) == (copy["mailbox"], [copy["id"]])


def test_open_requests_are_those_whose_clients_wait(
    simulator: Simulator, tenant: TenantControl, graph: Graph
) -> None:
    assert simulator.open_ports() == set()
    simulator.limits(latency=0.5)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(graph.get, f"users/{ANN}/messages")
        until(lambda: len(simulator.open_ports()) == 1)
        answer.result()
    until(lambda: simulator.open_ports() == set())
