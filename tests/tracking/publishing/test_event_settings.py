"""A start with other settings has published again what differs by them; on both drivers."""

import pytest

from services.tracking.domain.event_settings import EventSettings
from services.tracking.domain.visibility import DefaultReaders
from services.tracking.publishing import event_settings
from services.tracking.publishing.event_settings import announce_event_settings
from services.tracking.store import Store
from shared.errors import RetryableError
from shared.events import ActivityTracked
from tests.tracking.conftest import SettableClock
from tests.tracking.publishing.test_republication import Replicas
from tests.tracking.worlds import ANN, CONTOSO, EVE, RENEWAL, email, tracked

OPEN = EventSettings(DefaultReaders({"*": ("*",)}), publish_subjects=True)
NARROW = EventSettings(DefaultReaders({"*": ("*",), CONTOSO: ("user:oid-ann",)}), publish_subjects=True)
CLOCK = SettableClock()


@pytest.fixture
async def replicas(store: Store) -> Replicas:
    """A replica with open readers, that has published an activity of each tenant."""
    await announce_event_settings(store, OPEN, CLOCK)
    replicas = Replicas(store)
    await replicas.track(1)
    of_fabrikam = tracked(email(EVE), (EVE, RENEWAL._replace(tenant=EVE.tenant)))
    assert await store.tracked_activities.replace_if_unchanged(of_fabrikam, None)
    await replicas.relay.publish_pending()
    assert await replicas.finish() == []
    replicas.producer.published()
    return replicas


async def test_narrowed_default_readers_are_published_with_a_new_revision(replicas: Replicas) -> None:
    before = await replicas.store.tracked_activities.find_max_revision(CONTOSO) or 0
    await replicas.add_record(RENEWAL)
    await announce_event_settings(replicas.store, NARROW, CLOCK)
    await replicas.republisher.publish_pending()
    [sent] = replicas.producer.sent
    assert isinstance(sent.value, ActivityTracked)
    assert sent.value.revision > before
    assert [entry.readers for entry in sent.value.regarding] == [("user:oid-ann",)]


async def test_start_with_the_same_settings_publishes_nothing(replicas: Replicas) -> None:
    await announce_event_settings(replicas.store, OPEN, CLOCK)
    assert await replicas.finish() == []


async def test_replica_that_still_has_the_former_settings_publishes_by_the_new_ones(
    replicas: Replicas,
) -> None:
    await replicas.add_record(RENEWAL)
    await announce_event_settings(replicas.store, NARROW, CLOCK)
    assert await replicas.store.tracked_activities.replace_if_unchanged(
        tracked(email(identity="new"), (ANN, RENEWAL)), None
    )
    await replicas.relay.publish_pending()
    [sent] = replicas.producer.sent
    assert isinstance(sent.value, ActivityTracked)
    assert [entry.readers for entry in sent.value.regarding] == [("user:oid-ann",)]


async def test_start_that_ended_before_it_announced_its_settings_is_made_up_for(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*_args: object) -> int:
        raise RetryableError("MongoDB does not answer")

    with monkeypatch.context() as crash:
        crash.setattr(event_settings, "request_republication", unavailable)
        with pytest.raises(RetryableError):
            await announce_event_settings(replicas.store, NARROW, CLOCK)
    assert await replicas.finish() == []
    await announce_event_settings(replicas.store, NARROW, CLOCK)
    assert sum(await replicas.finish()) == 2
