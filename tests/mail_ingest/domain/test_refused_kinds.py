"""Which kinds Graph refuses, and when each of them is tried again."""

from datetime import timedelta

from services.mail_ingest.domain.refused_kinds import RefusedKind, refused_kinds, waiting_kinds
from shared.events import ActivityKind
from tests.mail_ingest.graphs import NOW

EMAIL, MEETING = ActivityKind.EMAIL, ActivityKind.MEETING
MINUTE = timedelta(minutes=1)


def test_kind_is_tried_again_with_growing_pauses() -> None:
    refused: tuple[RefusedKind, ...] = ()
    now, pauses = NOW, []
    for _ in range(7):
        refused = refused_kinds(refused, {MEETING: "access_policy"}, {EMAIL}, now, MINUTE)
        pauses.append((refused[0].retry_at - now) // MINUTE)
        now = refused[0].retry_at

    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert refused == (RefusedKind(MEETING, "access_policy", NOW, 7, now),)


def test_kind_that_waits_stays_refused_and_one_that_was_read_does_not() -> None:
    before = refused_kinds((), {EMAIL: "a", MEETING: "b"}, set(), NOW, MINUTE)
    assert waiting_kinds(before, NOW) == {EMAIL, MEETING}
    assert waiting_kinds(before, NOW + MINUTE) == set()

    after = refused_kinds(before, {}, {MEETING}, NOW, MINUTE)

    assert [each.kind for each in after] == [EMAIL]
    assert after[0].failures == 1
