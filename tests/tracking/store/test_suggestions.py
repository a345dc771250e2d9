"""Suggestions and dismissals in the store, on both drivers."""

from datetime import timedelta

import pytest

from services.tracking.domain.timeline import MatchReason
from services.tracking.store import Document, Store, suggestion_document
from services.tracking.store.id_ranges import ANY
from shared.errors import InvalidMessageError
from shared.events import Activity, ActivityMatched, Match
from shared.keys import ItemKey, RecordKey, join_key
from shared.topics import MATCHES
from tests.tracking.conftest import valid_message
from tests.tracking.worlds import ACCOUNT, ANN, BEN, DAY, HOUR, NOW, RENEWAL, RULES, email, matched

ITEM = email().key


def document(activity: Activity, *records: RecordKey, epoch: int = 1, sequence: int = 1) -> Document:
    value = matched(activity, *records) if records else None
    return suggestion_document(
        valid_message(MATCHES, activity.key, value, epoch=epoch, sequence=sequence), NOW
    )


@pytest.mark.parametrize("order,written", [((1, 9), 0), ((2, 4), 0), ((2, 5), 0), ((2, 6), 1), ((3, 1), 1)])
async def test_greater_epoch_and_sequence_wins(store: Store, order: tuple[int, int], written: int) -> None:
    assert await store.suggestions.upsert_newer([document(email(), RENEWAL, epoch=2, sequence=5)]) == 1
    epoch, sequence = order
    later = document(email(), ACCOUNT, epoch=epoch, sequence=sequence)
    assert await store.suggestions.upsert_newer([later]) == written
    _, suggestion = await store.suggestions.find_on_record(ITEM, ACCOUNT)
    assert (suggestion is not None) is bool(written)


async def test_withdrawn_suggestion_keeps_its_ids_and_order_alone(store: Store) -> None:
    await store.suggestions.upsert_newer([document(email(), RENEWAL)])
    await store.suggestions.upsert_newer([document(email(), sequence=2)])
    stored = await store.collection("suggestions").find_one({"_id": join_key(ITEM)})
    assert stored
    ids = {"_id", "owner", "version", "epoch", "sequence", "partition", "generation"}
    assert stored.keys() == ids | {"delete_at"}
    assert stored["delete_at"] == NOW + 14 * DAY
    assert await store.suggestions.find_on_record(ITEM, RENEWAL) == (True, None)
    unknown = ItemKey(ITEM.tenant, ITEM.mailbox, "unknown")
    assert await store.suggestions.find_on_record(unknown, RENEWAL) == (False, None)


async def test_suggestion_has_the_reasons_of_its_record(store: Store) -> None:
    value = ActivityMatched(
        activity=email(),
        matches=(
            Match(type="opportunity", id="renewal", reasons=(("opportunity.stakeholder", 2),), more=3),
            Match(type="account", id="fabrikam", reasons=(("account.email", 0), ("account.email", 1))),
        ),
        rules=RULES,
    )
    await store.suggestions.upsert_newer([suggestion_document(valid_message(MATCHES, ITEM, value), NOW)])
    for record, reasons, more in (
        (RENEWAL, (MatchReason(2, RULES["opportunity.stakeholder"]),), 3),
        (ACCOUNT, tuple(MatchReason(number, RULES["account.email"]) for number in (0, 1)), 0),
    ):
        _, suggestion = await store.suggestions.find_on_record(ITEM, record)
        assert suggestion
        assert (suggestion.activity, suggestion.reasons, suggestion.more) == (email(), reasons, more)


@pytest.mark.parametrize("reason", [("unknown rule", 0), ("account.email", 3), ("account.email", -1)])
def test_reason_without_its_rule_or_participant_is_invalid(reason: tuple[str, int]) -> None:
    value = ActivityMatched(
        activity=email(), matches=(Match(type="account", id="fabrikam", reasons=(reason,)),), rules=RULES
    )
    with pytest.raises(InvalidMessageError) as invalid:
        suggestion_document(valid_message(MATCHES, ITEM, value), NOW)
    assert invalid.value.field == "matches.0.reasons"


async def test_pages_have_visible_suggestions_of_one_owner_newest_first(store: Store) -> None:
    activities = [
        email(item="old", at=NOW - 2 * HOUR),
        email(item="new", at=NOW - HOUR),
        email(item="left", at=NOW - 3 * DAY),
        email(item="later", at=NOW + HOUR),
        email(BEN, item="of-ben"),
    ]
    await store.suggestions.upsert_newer([document(activity, RENEWAL) for activity in activities])
    pages = [page async for page in store.suggestions.find_pages(ANN.mailbox_key, RENEWAL, NOW, {})]
    assert [suggestion.activity.item for page in pages for suggestion in page] == ["new", "old"]
    meetings = store.suggestions.find_pages(ANN.mailbox_key, RENEWAL, NOW, {"kind": "meeting"})
    assert [page async for page in meetings] == []
    assert await store.suggestions.count_live() == 5


# -- dismissals -----------------------------------------------------------------------------------


async def test_dismissal_is_of_one_owner_identity_and_record(store: Store) -> None:
    await store.suggestions.upsert_newer([document(email(), RENEWAL, ACCOUNT)])
    _, suggestion = await store.suggestions.find_on_record(ITEM, RENEWAL)
    assert suggestion
    await store.dismissals.upsert(suggestion, RENEWAL)
    both = [RENEWAL, ACCOUNT]
    assert await store.dismissals.find_identities(ANN.mailbox_key, both) == {
        (RENEWAL, "<offer@fabrikam.com>")
    }
    assert await store.dismissals.find_identities(BEN.mailbox_key, both) == set()
    assert not await store.dismissals.delete(ITEM, ACCOUNT, "<offer@fabrikam.com>")
    assert await store.dismissals.delete(ITEM, RENEWAL, None)
    assert await store.dismissals.find_identities(ANN.mailbox_key, both) == set()


async def test_dismissal_is_kept_until_30_days_after_its_item_was_last_seen(store: Store) -> None:
    await store.suggestions.upsert_newer([document(email(), RENEWAL)])
    _, suggestion = await store.suggestions.find_on_record(ITEM, RENEWAL)
    assert suggestion
    await store.dismissals.upsert(suggestion, RENEWAL)

    async def delete_at() -> object:
        [stored] = [each async for each in store.collection("dismissals").find(ANY)]
        return stored["delete_at"]

    assert await delete_at() == email().visible_until + 30 * DAY
    copy = email(item="copy", at=NOW)
    await store.dismissals.extend_retention([document(copy, RENEWAL), document(email(BEN), RENEWAL)])
    assert await delete_at() == copy.visible_until + 30 * DAY
    earlier = email(at=NOW - timedelta(days=1))
    await store.dismissals.extend_retention([document(earlier, RENEWAL), document(email())])
    assert await delete_at() == copy.visible_until + 30 * DAY
