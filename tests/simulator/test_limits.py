"""Throttling, injected faults, and batches with both."""

from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from simulator.control.client import Simulator, TenantControl
from tests.simulator.conftest import Graph, quoted

ANN, BOB = "users/ann@contoso.example", "users/bob@contoso.example"
MISSING = "AAMkAGI1YTc4ZjBkLWI2MjktNGY3NS04" + "A" * 35 + "="
"""The well-formed id of no item."""


def statuses(graph: Graph, path: str, count: int) -> list[httpx2.Response]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: graph.http.get(f"/v1.0/{path}"), range(count)))


def test_four_concurrent_requests_succeed_and_further_ones_are_throttled(
    simulator: Simulator, tenant: TenantControl, graph: Graph
) -> None:
    simulator.limits(latency=0.3)
    statuses(graph, f"{BOB}/messages", 4)  # connections are open now
    answers = statuses(graph, f"{ANN}/messages", 7)
    assert sorted(a.status_code for a in answers) == [200] * 4 + [429] * 3
    refused = next(a for a in answers if a.status_code == 429)
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["code"] == "ApplicationThrottled"
    assert refused.json()["error"]["message"] == "Application is over its MailboxConcurrency limit."
    ann = graph.get(ANN)["id"]
    assert simulator.counters()["mailboxes"].get(ann, {}).get("highest_concurrent", 4) == 4


def test_each_mailbox_has_its_own_limit(simulator: Simulator, tenant: TenantControl, graph: Graph) -> None:
    simulator.limits(latency=0.3)
    with ThreadPoolExecutor(8) as pool:
        paths = [f"/v1.0/{who}/messages" for who in (ANN, BOB) for _ in range(4)]
        assert {a.status_code for a in pool.map(graph.http.get, paths)} == {200}


def test_ten_minute_window_has_a_limit(simulator: Simulator, tenant: TenantControl, graph: Graph) -> None:
    simulator.limits(max_in_window=3)
    answers = [graph.http.get(f"/v1.0/{ANN}/messages") for _ in range(4)]
    assert [a.status_code for a in answers] == [200, 200, 200, 429]
    assert 500 < int(answers[-1].headers["retry-after"]) <= 600


def test_faults_apply_only_to_their_requests(
    simulator: Simulator, tenant: TenantControl, graph: Graph
) -> None:
    simulator.fault(503, count=2, kind="messages.window")
    found = [graph.http.get(f"/v1.0/{ANN}/messages").status_code for _ in range(3)]
    assert found == [503, 503, 200]
    simulator.fault(429, rate=0.5, retry_after=5, mailbox=graph.get(ANN)["id"])
    found = [graph.http.get(f"/v1.0/{ANN}/messages").status_code for _ in range(60)]
    assert 10 < found.count(429) < 50
    graph.get(f"{BOB}/messages")
    simulator.clear_faults()
    graph.get(f"{ANN}/messages")


def test_fault_of_one_item_has_its_own_code_headers_and_end(
    simulator: Simulator, tenant: TenantControl, graph: Graph
) -> None:
    for subject in ("One", "Another"):
        tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject=subject)
    one, another = (each["id"] for each in graph.get(f"{ANN}/messages")["value"])

    simulator.fault(400, item=one, code="ErrorInvalidIdMalformed", headers={"X-Part": "7"}, count=1)
    refused = graph.http.get(f"/v1.0/{ANN}/messages/{quoted(one)}")
    assert (refused.status_code, refused.headers["x-part"]) == (400, "7")
    assert refused.json()["error"]["code"] == "ErrorInvalidIdMalformed"
    graph.get(f"{ANN}/messages/{quoted(another)}")
    graph.get(f"{ANN}/messages/{quoted(one)}")

    simulator.fault(500, item=one, seconds=-1)
    graph.get(f"{ANN}/messages/{quoted(one)}")


@pytest.mark.parametrize(
    "status, body, content",
    [(200, None, b""), (204, None, b""), (200, {"id": "i"}, b'{"id":"i"}'), (200, "<html>", b"<html>")],
)
def test_fault_may_be_any_response(
    simulator: Simulator, tenant: TenantControl, graph: Graph, status: int, body: object, content: bytes
) -> None:
    simulator.fault(status, body=body, kind="messages.window")

    answer = graph.http.get(f"/v1.0/{ANN}/messages", headers={"Prefer": 'IdType="ImmutableId"'})

    assert (answer.status_code, answer.content) == (status, content)
    assert "preference-applied" not in answer.headers


def test_token_endpoint_can_be_throttled(simulator: Simulator, tenant: TenantControl) -> None:
    simulator.fault(429, count=1, kind="token", retry_after=3)
    answer = simulator.http.post(f"/{tenant.id}/oauth2/v2.0/token", data={"grant_type": "client_credentials"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")


def part(number: int, url: str, **more: object) -> dict[str, object]:
    return {"id": str(number), "method": "GET", "url": url, **more}


def test_batch_responds_to_each_part(simulator: Simulator, tenant: TenantControl, graph: Graph) -> None:
    tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Hi")
    parts = [
        part(1, f"/{ANN}/messages?$select=subject", headers={"Prefer": 'IdType="ImmutableId"'}),
        part(2, f"{simulator.url}/v1.0/{BOB}"),
        part(3, f"/{ANN}/messages/{MISSING}"),
        part(4, f"/{ANN}", dependsOn=["3"]),
        {**part(5, "/$batch", body={}, headers={"content-type": "application/json"}), "method": "POST"},
        part(6, f"/v1.0/{BOB}"),
    ]
    answers = {a["id"]: a for a in graph.send("POST", "$batch", {"requests": parts})["responses"]}
    statuses = {"1": 200, "2": 200, "3": 404, "4": 424, "5": 400, "6": 200}
    assert {n: a["status"] for n, a in answers.items()} == statuses
    assert answers["1"]["body"]["value"][0]["subject"] == "Hi"
    assert answers["1"]["headers"]["Preference-Applied"] == "IdType=ImmutableId"
    assert answers["3"]["body"]["error"]["code"] == "ErrorItemNotFound"


def test_batch_parts_are_throttled_separately(
    simulator: Simulator, tenant: TenantControl, graph: Graph
) -> None:
    simulator.fault(429, count=1, retry_after=9, kind="messages.window")
    parts = [part(n, f"/{ANN}/messages") for n in range(5)]
    answers = graph.send("POST", "$batch", {"requests": parts})["responses"]
    assert sorted(a["status"] for a in answers) == [200] * 4 + [429]
    refused = next(a for a in answers if a["status"] == 429)
    assert refused["headers"]["Retry-After"] == "9"
    assert refused["body"]["error"]["code"] == "ApplicationThrottled"


def test_malformed_batches_are_rejected(simulator: Simulator, graph: Graph) -> None:
    for requests in (
        [],
        [part(n, f"/{ANN}") for n in range(21)],
        [part(1, f"/{ANN}")] * 2,
        [{"id": "1"}],
        [part(1, f"/{ANN}", dependsOn=["2"])],
        [part(1, f"/{ANN}", dependsOn=5)],
        [part(1, f"/{ANN}", headers="Prefer")],
        [part(1, f"https://elsewhere.example/v1.0/{ANN}")],
        [part(1, f"{simulator.url}/beta/{ANN}")],
        [{**part(1, "/subscriptions", body={"resource": "x"}), "method": "POST"}],
    ):
        graph.send("POST", "$batch", {"requests": requests}, status=400)
    graph.send("POST", "$batch", {}, status=400)
