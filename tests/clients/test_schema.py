"""The form of every response that the clients of these tests got.

Errors and batches are checked by their own form. The other responses need a checker of Graph's schema, which
is not part of the project: `GRAPH_CSDL_CHECK` has its path, as for the simulator's own tests.
"""

import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from simulator.control.client import TenantControl
from simulator.graph.csdl_check import Checker, faults, load_checker, read_recordings
from tests.clients.contoso import ANN, BOB, oid, put
from tests.clients.program import Program
from tests.simulator.conftest import Webhook

pytestmark = pytest.mark.full("clients")

CHECKER = os.environ.get("GRAPH_CSDL_CHECK")


def test_every_response_has_the_form_of_graphs(
    tenant: TenantControl, msgraph: Program, webhook: Webhook, recordings: Path
) -> None:
    [copy] = put(tenant, 1)
    soon = datetime.now(UTC) + timedelta(hours=1)
    tenant.book(ANN, [BOB], soon.isoformat(), subject="Daily", rule="FREQ=DAILY;COUNT=3")
    msgraph.call("users")
    msgraph.call("folders", user=ANN)
    for user in (ANN, BOB):
        msgraph.call("messages", user=user)
        msgraph.call("events", user=user)
    window = {"start_date_time": soon.isoformat(), "end_date_time": (soon + timedelta(days=3)).isoformat()}
    msgraph.call("calendar_view", user=BOB, **window)
    expires = (soon + timedelta(days=1)).isoformat()
    msgraph.call("subscribe", resource=f"users/{oid(tenant, ANN)}/events", url=webhook.url, expires=expires)
    msgraph.call("subscriptions")
    msgraph.call("batch", user=ANN, ids=[copy["default_id"]])
    msgraph.call("failed_user", user="nobody@contoso.example")

    checker: Checker = load_checker(Path(CHECKER)) if CHECKER else lambda _response, _kind: []
    kinds: Counter[str] = Counter()
    found = []
    for kind, line, response in read_recordings(recordings):
        kinds[kind] += 1
        found += [f"{kind}:{line} {fault}" for fault in faults(response, kind, checker)]
    assert found == []
    assert {"user", "mailFolder", "message", "event", "subscription", "error", "batch"} <= set(kinds)
