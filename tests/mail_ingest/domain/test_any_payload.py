"""Whatever Graph sends: no exception, and what is intact in a payload survives in its activity."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mail_ingest.domain.activities import MailboxOwner, NotCapturedReason
from services.mail_ingest.domain.capture import capture_item
from services.mail_ingest.domain.folders import Folders
from services.mail_ingest.domain.kinds import EMAIL, KINDS, MEETING, KindRow
from services.mail_ingest.domain.payloads import explain_payload
from shared.events import Activity
from shared.topics import MAX_ACTIVITY_BYTES

from .payloads import event, message

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ANN = MailboxOwner("t", "ann", frozenset({"ann@contoso.com"}))
FOLDERS = Folders(live=frozenset({"inbox"}))
PARTICIPANTS = {"from", "toRecipients", "ccRecipients", "organizer", "attendees"}
DECISIVE = {"id", "parentFolderId", "isDraft", "type", "@odata.type"}
"""Fields that decide whether there is an activity at all."""

ANY_TEXT = st.text(max_size=20) | st.sampled_from(
    ["\ud83d", "a\udc00b", "\x00", "\U0001f680", " ", "ann@x.example"]
)
ANY_TIME = st.sampled_from(
    ["9999-12-31T23:59:59.9999999", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "24:00", "soon"]
)
ANY_ZONED_TIME = st.fixed_dictionaries(
    {
        "dateTime": ANY_TIME,
        "timeZone": st.sampled_from(["UTC", "Tokyo Standard Time", "US/Hawaii", "Mars", None, 5]),
    }
)
ANY_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | ANY_TIME | ANY_ZONED_TIME,
    lambda parts: (
        st.lists(parts, max_size=3)
        | st.dictionaries(
            st.sampled_from(["emailAddress", "address", "name", "id"]) | ANY_TEXT, parts, max_size=3
        )
    ),
    max_leaves=6,
)


@st.composite
def damaged(draw: st.DrawFn, intact: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """A payload with any JSON in some of its fields, and the names of these fields."""
    fields = draw(st.sets(st.sampled_from(sorted(intact))))
    changes = {name: draw(ANY_JSON) for name in fields}
    more = draw(st.dictionaries(ANY_TEXT, ANY_JSON, max_size=2))
    return more | {**intact, **changes}, fields


def people(activity: Activity, names: set[str]) -> list[tuple[str, str]]:
    """Role and address of the participants that come from these fields."""
    roles = {
        "from": {"from"},
        "toRecipients": {"to"},
        "ccRecipients": {"cc"},
        "organizer": {"organizer"},
        "attendees": {"required", "optional"},
    }
    wanted = {role for name in names for role in roles[name]}
    return [(each.role, each.address) for each in activity.participants if each.role in wanted]


@pytest.mark.sized("payloads")
@pytest.mark.parametrize("row, intact", [(EMAIL, message(changeKey="k")), (MEETING, event(isAllDay=False))])
@given(data=st.data())
def test_any_payload_is_an_activity_or_has_a_reason_and_what_is_intact_survives(
    row: KindRow, intact: dict[str, Any], data: st.DataObject
) -> None:
    payload, fields = data.draw(damaged(intact))
    captured = capture_item(row, "i1", payload, ANN, FOLDERS, NOW).state
    for line in explain_payload(payload, ANN, NOW, KINDS):
        assert isinstance(line, Activity | str)

    if not fields & (DECISIVE | {"receivedDateTime", "start", "isAllDay"}):
        assert isinstance(captured, Activity) or captured.reason is NotCapturedReason.TIME_ZONE
    if isinstance(captured, Activity):
        whole = capture_item(row, "i1", intact, ANN, FOLDERS, NOW).state
        assert isinstance(whole, Activity)
        kept = (PARTICIPANTS & intact.keys()) - fields
        assert people(captured, kept) == people(whole, kept)
        written = captured.model_dump_json().encode()
        assert len(written) <= MAX_ACTIVITY_BYTES
        assert Activity.model_validate_json(written) == captured
