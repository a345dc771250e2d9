"""Errors and concerns of MongoDB, and its changes; on both drivers."""

import asyncio
import traceback
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any, get_args

import pytest
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
    register,
)

from services.tracking.domain.track_request import open_request
from services.tracking.settings import TrackingSettings
from services.tracking.store import Change, Store, suggestion_document
from services.tracking.store.change_feed import UNKNOWN_CHANGES
from shared.keys import join_key
from shared.mongodb import Driver, WriteRefusedError
from shared.topics import MATCHES
from tests.tracking.conftest import valid_message
from tests.tracking.worlds import ANN, HOUR, NOW, RENEWAL, email, matched, regarding, tracked

SUBJECT = "Between us"


@pytest.fixture
def refuse_suggestions(store: Store, mongodb_uri: str, mongodb_database: str) -> Iterator[None]:
    """Makes MongoDB refuse every suggestion during the test."""
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        database = client[mongodb_database]
        database.command("collMod", "suggestions", validator={"never": True})
        yield
        database.command("collMod", "suggestions", validator={})


@pytest.mark.usefixtures("refuse_suggestions")
async def test_refused_write_names_its_code_and_none_of_the_data(store: Store) -> None:
    activity = email(subject=SUBJECT)
    message = valid_message(MATCHES, activity.key, matched(activity, RENEWAL))
    with pytest.raises(WriteRefusedError, match=r"\[121\]") as refused:
        await store.suggestions.upsert_newer([suggestion_document(message, NOW)])
    assert SUBJECT not in "".join(traceback.format_exception(refused.value))


class CommitConcerns(CommandListener):
    """The write concerns with which transactions commit."""

    def __init__(self) -> None:
        self.concerns: list[Any] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name == "commitTransaction":
            self.concerns.append(event.command["writeConcern"]["w"])

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...


@pytest.mark.parametrize("driver", get_args(Driver))
async def test_transaction_commits_with_the_majority_whatever_the_uri_has(
    settings: TrackingSettings, driver: Driver
) -> None:
    commits = CommitConcerns()
    register(commits)  # for clients that are created from now on
    weak = SecretStr(f"{settings.mongodb_uri.get_secret_value()}&w=1")
    store = Store(settings.model_copy(update={"mongodb_uri": weak}), driver)
    async with store.transaction() as session:
        await store.collection("any").insert_one({}, session=session)
    await store.close()
    assert commits.concerns == ["majority"]


# -- changes --------------------------------------------------------------------------------------


async def next_change(changes: AsyncGenerator[Change | None, None]) -> Change:
    """The next change; waits at most 10 s."""
    async with asyncio.timeout(10):
        while not (change := await anext(changes)):
            pass
    return change


async def test_changes_name_owners_and_records_and_skip_the_outbox(store: Store) -> None:
    shared = tracked(email(), (ANN, RENEWAL))
    [entry] = regarding((ANN, RENEWAL))
    message = valid_message(MATCHES, email().key, matched(email(), RENEWAL))
    owner, record = join_key(ANN.mailbox_key), join_key(RENEWAL)
    async with aclosing(store.change_feed.changes()) as changes:
        assert await next_change(changes) == UNKNOWN_CHANGES
        await store.suggestions.upsert_newer([suggestion_document(message, NOW)])
        assert await next_change(changes) == Change(owner=owner)
        await store.track_requests.insert(open_request("r", email(), entry, HOUR), email())
        assert await next_change(changes) == Change(owner=owner)
        await store.tracked_activities.replace_if_unchanged(shared, None)
        assert await next_change(changes) == Change(records=frozenset({record}))
        await store.track_requests.acknowledge(await store.track_requests.lease_pending("first", 10))
        await store.tracked_activities.lease_pending("first", 10)
        await store.tracked_activities.acknowledge([shared], NOW)
        assert await store.tracked_activities.lease_below(record, 2 * shared.revision, "first", 10)
        assert await store.track_requests.repeat_unanswered(NOW + HOUR) == 1
        assert await store.track_requests.fail_overdue(NOW + HOUR) == 1
        assert await next_change(changes) == Change(owner=owner)


async def test_next_reading_goes_on_without_a_gap(store: Store) -> None:
    async with aclosing(store.change_feed.changes()) as changes:
        assert await next_change(changes) == UNKNOWN_CHANGES
        while await anext(changes):
            pass
    await store.tracked_activities.replace_if_unchanged(tracked(email(), (ANN, RENEWAL)), None)
    async with aclosing(store.change_feed.changes()) as changes:
        assert await next_change(changes) == Change(records=frozenset({join_key(RENEWAL)}))
    store.change_feed.forget_position()
    async with aclosing(store.change_feed.changes()) as changes:
        assert await next_change(changes) == UNKNOWN_CHANGES
