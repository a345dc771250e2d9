"""Hundreds of thousands of broken payloads by function: each becomes exactly what its generator knows."""

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from services.mail_ingest.domain.activities import MailboxOwner
from services.mail_ingest.domain.capture import capture_item
from services.mail_ingest.domain.folders import Folders
from services.mail_ingest.domain.kinds import EMAIL, KINDS, MEETING, KindRow
from services.mail_ingest.domain.payloads import explain_payload
from services.mail_ingest.graph.answers import Form, read_answer
from shared.events import Activity
from shared.topics import MAX_ACTIVITY_BYTES
from tests.mail_ingest.any_payloads import AnyPayload, AnyPayloads, differences

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
OWNER = MailboxOwner("t", "ann", frozenset({"ann@contoso.com"}))
FOLDERS = Folders(live=frozenset({"inbox"}))
SMALL, FULL = 2_000, 200_000
HEADERS = {"Preference-Applied": 'IdType="ImmutableId"'}


@pytest.mark.sized("payloads")
@pytest.mark.timeout(1700)
def test_any_payload_by_function_is_what_its_generator_knows(full_size: bool) -> None:
    generator = AnyPayloads(seed=20261124, now=NOW)
    reasons: Counter[str | None] = Counter()
    for number in range((FULL if full_size else SMALL) // 2):
        for row, payload in ((EMAIL, generator.message(folder="inbox")), (MEETING, generator.event())):
            reasons[payload.refused] += 1
            check(row, payload, f"payload {number} of {row.kind}: {payload.text}")
    assert reasons[None] > reasons.total() * 0.8
    assert set(reasons) == {
        None,
        "draft",
        "meeting_mail",
        "unknown_folder",
        "no_date",
        "series_master",
        "time_zone_unknown",
    }


def check(row: KindRow, payload: AnyPayload, name: str) -> None:
    """Fails when the service would make anything else of a payload than its generator knows."""
    received = as_received(payload)
    state = capture_item(row, "i1", received, OWNER, FOLDERS, NOW).state
    for line in explain_payload(received, OWNER, NOW, KINDS):
        assert isinstance(line, Activity | str), name
    if not isinstance(state, Activity):
        assert state.reason == payload.refused, name
        return
    assert payload.refused is None, name
    written = state.model_dump_json().encode()
    assert len(written) <= MAX_ACTIVITY_BYTES, name
    assert Activity.model_validate_json(written) == state, name
    assert not (found := differences(payload, json.loads(written))), f"{found} in {name}"


def as_received(payload: AnyPayload) -> dict[str, Any]:
    """The payload as Graph's client reads it from a response."""
    content = '{"id":"i1",' + payload.text[1:]
    answer = read_answer(200, HEADERS, content.encode(), Form.IMMUTABLE_ENTITY)
    assert answer is not None, payload.text
    return answer
