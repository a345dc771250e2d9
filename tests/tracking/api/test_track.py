"""Track, untrack and dismiss over HTTP, on the real MongoDB."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from services.tracking.domain.track_request import MAX_ENTRIES
from services.tracking.domain.tracked_activity import add_regarding
from shared.events import Sensitivity
from tests.tracking.conftest import World
from tests.tracking.worlds import (
    ACCOUNT,
    ADA,
    ANN,
    BEN,
    DAY,
    NOW,
    RENEWAL,
    content,
    email,
    regarding,
    tracked,
)

from .timelines import MAIL, ON, states

pytestmark = pytest.mark.usefixtures("responses_are_described")


async def test_track_is_pending_for_ten_minutes_for_its_owner_alone(office: World) -> None:
    response = await office.request(ANN, "POST", f"{MAIL}/track")
    assert response.status_code == 202
    assert response.json() == {"state": "pending", "until": "2096-11-24T12:10:00Z", "tracked": None}
    assert states(await office.timeline(ANN, RENEWAL)) == [("mail-1", "pending")]
    assert states(await office.timeline(ANN, ACCOUNT)) == [("mail-1", "untracked")]
    ben = await office.timeline(BEN, RENEWAL)
    assert (ben["suggestions"], ben["tracked"]) == ([], [])
    office.clock.now = NOW + timedelta(minutes=10)
    [tile] = (await office.timeline(ANN, RENEWAL))["suggestions"]
    assert (tile["state"], tile["reason"]) == ("failed", "no_answer")


async def test_concurrent_tracks_are_one_request_with_one_response(office: World) -> None:
    responses = await asyncio.gather(*(office.request(ANN, "POST", f"{MAIL}/track") for _ in range(8)))
    assert {(response.status_code, response.text) for response in responses} == {(202, responses[0].text)}
    assert (
        await office.store.track_requests.count_open(),
        await office.store.track_requests.count_publish_pending(),
    ) == (1, 1)
    [stored] = await office.store.track_requests.find_for_record(ANN.mailbox_key, RENEWAL)
    assert len(stored.regarding) == 1


async def test_track_on_a_second_record_joins_the_open_request(office: World) -> None:
    await office.request(ANN, "POST", f"{MAIL}/track")
    await office.request(ANN, "POST", "/records/account/fabrikam/suggestions/mail-1/track")
    assert await office.store.track_requests.count_open() == 1
    assert states(await office.timeline(ANN, ACCOUNT)) == [("mail-1", "pending")]


async def test_track_after_the_deadline_opens_a_new_request(office: World) -> None:
    await office.request(ANN, "POST", f"{MAIL}/track")
    office.clock.now = NOW + timedelta(minutes=11)
    await office.request(ANN, "POST", f"{MAIL}/track")
    assert states(await office.timeline(ANN, RENEWAL)) == [("mail-1", "pending")]
    assert len(await office.store.track_requests.find_for_record(ANN.mailbox_key, RENEWAL)) == 2


@pytest.mark.parametrize("sensitivity", [Sensitivity.PRIVATE, Sensitivity.CONFIDENTIAL, Sensitivity.PERSONAL])
async def test_private_item_is_shared_after_the_owner_agrees(office: World, sensitivity: Sensitivity) -> None:
    await office.suggest(email(sensitivity=sensitivity), RENEWAL, sequence=2)
    response = await office.request(ANN, "POST", f"{MAIL}/track", json={"confirm_private": False})
    assert (response.status_code, response.json().get("code")) == (409, "private")
    assert await office.store.track_requests.count_open() == 0
    assert (
        await office.request(ANN, "POST", f"{MAIL}/track", json={"confirm_private": True})
    ).status_code == 202


async def test_track_of_an_item_that_is_no_longer_visible_is_a_conflict(office: World) -> None:
    await office.suggest(email(), ACCOUNT, sequence=2)
    response = await office.request(ANN, "POST", f"{MAIL}/track")
    assert (response.status_code, response.json()["code"]) == (409, "no_longer_visible")
    await office.suggest(email(), sequence=3)
    assert (await office.request(ANN, "POST", f"{MAIL}/track")).status_code == 409
    await office.suggest(email(), RENEWAL, sequence=4)
    office.clock.now = NOW + 3 * DAY
    assert (await office.request(ANN, "POST", f"{MAIL}/track")).status_code == 409


async def test_filters_apply_to_pending_items(office: World) -> None:
    await office.request(ANN, "POST", f"{MAIL}/track")
    for query, pending in (
        ({"kind": "email"}, 1),
        ({"kind": "meeting"}, 0),
        ({"direction": "incoming"}, 1),
        ({"direction": "outgoing"}, 0),
    ):
        assert len((await office.timeline(ANN, RENEWAL, **query))["suggestions"]) == pending, query


async def test_match_withdrawn_while_pending_changes_nothing(office: World) -> None:
    first = await office.request(ANN, "POST", f"{MAIL}/track")
    await office.suggest(email(), sequence=2)
    assert states(await office.timeline(ANN, RENEWAL)) == [("mail-1", "pending")]
    assert (await office.request(ANN, "POST", f"{MAIL}/track")).text == first.text


async def test_item_tracked_by_a_colleague_is_not_suggested_again(office: World) -> None:
    await office.store.tracked_activities.replace_if_unchanged(
        tracked(email(BEN, item="of-ben"), (BEN, RENEWAL)), None
    )
    timeline = await office.timeline(ANN, RENEWAL)
    assert timeline["suggestions"] == []
    assert [(entry["by"], entry["by_name"]) for entry in timeline["tracked"][0]["regarding"]] == [
        ("oid-ben", "Ben Roy")
    ]
    assert states(await office.timeline(ANN, ACCOUNT)) == [("mail-1", "untracked")]


@pytest.mark.parametrize("reading", ["find_identities", "find_page"])
async def test_item_tracked_while_the_timeline_is_read_is_shown_once(
    office: World, monkeypatch: pytest.MonkeyPatch, reading: str
) -> None:
    # A tile that is missing for one reading, or there twice, would lose the page its focus.
    collection = type(office.store.tracked_activities)
    read = getattr(collection, reading)

    async def tracked_just_before(*args: Any) -> Any:
        await office.store.tracked_activities.replace_if_unchanged(tracked(email(), (ANN, RENEWAL)), None)
        return await read(*args)

    monkeypatch.setattr(collection, reading, tracked_just_before)
    timeline = await office.timeline(ANN, RENEWAL)
    assert (len(timeline["suggestions"]), len(timeline["tracked"])) == (0, 1)


async def test_track_of_a_tracked_item_returns_it_without_a_request(office: World) -> None:
    shared = tracked(email(), (ANN, RENEWAL))
    await office.store.tracked_activities.replace_if_unchanged(shared, None)
    response = await office.request(ANN, "POST", f"{MAIL}/track")
    assert (response.status_code, response.json()) == (
        202,
        {"state": "tracked", "until": None, "tracked": shared.id},
    )
    assert await office.store.track_requests.count_open() == 0


# -- tracked --------------------------------------------------------------------------------------


async def test_sixty_first_entry_is_a_conflict(office: World) -> None:
    others = [(BEN, RENEWAL._replace(id=str(number))) for number in range(MAX_ENTRIES - 1)]
    full = tracked(email(BEN, "of-ben"), *others)
    assert await office.store.tracked_activities.replace_if_unchanged(full, None)
    assert (await office.request(ANN, "POST", f"{MAIL}/track")).status_code == 202
    on_account = "/records/account/fabrikam/suggestions/mail-1/track"
    refused = await office.request(ANN, "POST", on_account)
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_entries")
    assert "60" in refused.json()["detail"]
    assert (await office.request(ANN, "POST", f"{MAIL}/track")).status_code == 202, "it is pending already"


async def test_full_activity_of_another_content_refuses_nothing(office: World) -> None:
    others = [(BEN, RENEWAL._replace(id=str(number))) for number in range(MAX_ENTRIES)]
    full = tracked(email(BEN, "of-ben", subject="Another subject"), *others)
    assert await office.store.tracked_activities.replace_if_unchanged(full, None)
    assert (await office.request(ANN, "POST", f"{MAIL}/track")).status_code == 202


async def test_tracked_content_is_readable_for_readers_of_the_record(office: World) -> None:
    shared = tracked(email(), (ANN, RENEWAL))
    await office.store.tracked_activities.replace_if_unchanged(shared, None)
    response = (await office.request(BEN, "GET", f"{ON}/tracked/{shared.id}")).json()
    assert response["content"] == {"text": content(email()).text, "html": False, "cut": False}
    assert response["tracked"]["owner"] == "oid-ann"
    assert (
        await office.request(BEN, "GET", f"/records/account/fabrikam/tracked/{shared.id}")
    ).status_code == 404


async def test_untrack_removes_own_entry_and_the_last_one_restores_the_suggestion(office: World) -> None:
    shared = tracked(email(), (ANN, RENEWAL), (BEN, RENEWAL))
    await office.store.tracked_activities.replace_if_unchanged(shared, None)
    path = f"{ON}/tracked/{shared.id}"
    assert (await office.request(ANN, "DELETE", path, params={"by": "oid-ben"})).status_code == 404
    assert (await office.request(ANN, "DELETE", path)).status_code == 204
    assert (await office.request(ANN, "DELETE", path)).status_code == 404
    assert (await office.timeline(ANN, RENEWAL))["suggestions"] == []
    assert (await office.request(BEN, "DELETE", path)).status_code == 204
    timeline = await office.timeline(ANN, RENEWAL)
    assert (states(timeline), timeline["tracked"]) == ([("mail-1", "untracked")], [])
    untracked = await office.store.tracked_activities.find_by_key(shared.key)
    assert untracked
    assert untracked.content is None


async def test_user_cannot_remove_entries_of_others(office: World) -> None:
    shared = tracked(email(), (ANN, RENEWAL))
    await office.store.tracked_activities.replace_if_unchanged(shared, None)
    path = f"{ON}/tracked/{shared.id}"
    for query in ({"by": ANN.oid}, {}):
        assert (await office.request(BEN, "DELETE", path, params=query)).status_code == 404
    [tile] = (await office.timeline(BEN, RENEWAL))["tracked"]
    assert [entry["by"] for entry in tile["regarding"]] == [ANN.oid]
    assert (await office.request(ANN, "DELETE", path, params={"by": ANN.oid})).status_code == 204


async def test_administrator_untracks_entries_of_others(office: World) -> None:
    shared = tracked(email(), (ANN, RENEWAL))
    await office.store.tracked_activities.replace_if_unchanged(shared, None)
    assert (
        await office.request(ADA, "DELETE", f"{ON}/tracked/{shared.id}", params={"by": "oid-ann"})
    ).status_code == 204
    assert states(await office.timeline(ANN, RENEWAL)) == [("mail-1", "untracked")]


async def test_own_entry_can_be_taken_back_from_a_record_that_is_closed_meanwhile(office: World) -> None:
    shared = tracked(email(), (ANN, RENEWAL), (BEN, RENEWAL))
    await office.store.tracked_activities.replace_if_unchanged(shared, None)
    await office.add_record(RENEWAL, "Fleet renewal", ("user:oid-ann",))
    path = f"{ON}/tracked/{shared.id}"
    assert (await office.request(BEN, "GET", path)).status_code == 404
    assert (await office.request(BEN, "DELETE", path, params={"by": ANN.oid})).status_code == 404
    assert (await office.request(ADA, "DELETE", path, params={"by": ANN.oid})).status_code == 404
    assert (await office.request(BEN, "DELETE", path)).status_code == 204
    [tile] = (await office.timeline(ANN, RENEWAL))["tracked"]
    assert [entry["by"] for entry in tile["regarding"]] == [ANN.oid]
    assert (await office.request(BEN, "DELETE", path)).status_code == 404


async def test_concurrent_untracks_both_succeed(office: World) -> None:
    shared = tracked(email(), (ANN, RENEWAL), (BEN, RENEWAL))
    await office.store.tracked_activities.replace_if_unchanged(shared, None)
    responses = await asyncio.gather(
        *(office.request(user, "DELETE", f"{ON}/tracked/{shared.id}") for user in (ANN, BEN))
    )
    assert [response.status_code for response in responses] == [204, 204]
    assert (await office.timeline(ANN, RENEWAL))["tracked"] == []


async def test_entry_of_a_deleted_record_is_marked_and_can_be_removed(office: World) -> None:
    shared = tracked(email(), (ANN, RENEWAL), (ANN, ACCOUNT))
    await office.store.tracked_activities.replace_if_unchanged(shared, None)
    await office.delete_record(ACCOUNT)
    [tile] = (await office.timeline(BEN, RENEWAL))["tracked"]
    assert [(entry["id"], entry["name"], entry["deleted"]) for entry in tile["regarding"]] == [
        ("renewal", "Fleet renewal", False),
        ("fabrikam", None, True),
    ]
    assert (
        await office.request(ANN, "DELETE", f"/records/account/fabrikam/tracked/{shared.id}")
    ).status_code == 204


# -- dismiss --------------------------------------------------------------------------------------


async def test_dismissal_is_per_record_and_survives_every_rematch_until_undone(office: World) -> None:
    assert (await office.request(ANN, "PUT", f"{MAIL}/dismissal")).status_code == 204
    await office.suggest(email(), sequence=2)
    await office.suggest(email(), RENEWAL, ACCOUNT, sequence=3)
    assert states(await office.timeline(ANN, RENEWAL)) == []
    assert states(await office.timeline(ANN, ACCOUNT)) == [("mail-1", "untracked")]
    assert (await office.request(ANN, "DELETE", f"{MAIL}/dismissal")).status_code == 204
    assert states(await office.timeline(ANN, RENEWAL)) == [("mail-1", "untracked")]
    assert (await office.request(ANN, "DELETE", f"{MAIL}/dismissal")).status_code == 204


async def test_dismissal_of_a_withdrawn_match_can_be_undone(office: World) -> None:
    await office.request(ANN, "PUT", f"{MAIL}/dismissal")
    await office.suggest(email(), sequence=2)
    assert (await office.request(ANN, "DELETE", f"{MAIL}/dismissal")).status_code == 204
    await office.suggest(email(), RENEWAL, sequence=3)
    assert states(await office.timeline(ANN, RENEWAL)) == [("mail-1", "untracked")]


async def test_track_undoes_a_dismissal(office: World) -> None:
    await office.request(ANN, "PUT", f"{MAIL}/dismissal")
    assert (await office.request(ANN, "POST", f"{MAIL}/track")).status_code == 202
    [stored] = await office.store.track_requests.find_for_record(ANN.mailbox_key, RENEWAL)
    assert stored.regarding == regarding((ANN, RENEWAL))
    assert await office.store.dismissals.find_identities(ANN.mailbox_key, [RENEWAL]) == set()


async def test_untrack_of_the_last_entry_ends_the_following_of_its_item(office: World) -> None:
    shared = tracked(email(), (ANN, RENEWAL))
    await office.store.tracked_activities.replace_if_unchanged(shared, None)
    await office.request(ANN, "DELETE", f"{ON}/tracked/{shared.id}")
    [mailbox] = await office.store.followed_mailboxes.lease_pending("replica", 10)
    assert (mailbox.key, mailbox.ended) == (ANN.mailbox_key, {"mail-1": "email"})


async def test_untrack_reads_the_copy_of_who_remains_again(office: World) -> None:
    first = tracked(email(), (ANN, RENEWAL))
    of_ben = content(email(BEN, "mail-of-ben"))
    shared = add_regarding(first, regarding((BEN, RENEWAL)), of_ben, NOW, version=5)
    await office.store.tracked_activities.replace_if_unchanged(shared, None)
    await office.request(ANN, "DELETE", f"{ON}/tracked/{shared.id}")
    mailboxes = await office.store.followed_mailboxes.lease_pending("replica", 10)
    assert {mailbox.key: mailbox.ended for mailbox in mailboxes} == {
        ANN.mailbox_key: {"mail-1": "email"},
        BEN.mailbox_key: {},
    }
    [copy] = [each async for each in office.store.tracked_activities.find_followed(BEN.mailbox_key, NOW)]
    assert (copy.item.item, copy.version) == ("mail-of-ben", 0)
