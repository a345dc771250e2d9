"""Content settles the track request of its own item, and no other one."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

from aiokafka import TopicPartition
from services.tracking.domain.activity import ClaimState, claim

from services.tracking.handlers import Handlers
from shared.broker import Batch, Subscription
from shared.events import ContentAnswered
from shared.topics import CONTENT

from .conftest import World, received
from .test_positions_before_dead_letter import Reading
from .worlds import ANN, BEN, RENEWAL, asks, content, email


async def test_content_under_another_mailbox_s_key_is_refused(world: World) -> None:
    opened = claim("hers", email(), asks((ANN, RENEWAL))[0], timedelta(minutes=10))
    assert await world.store.claims.put(opened, email())
    outbox = cast("Any", SimpleNamespace(wake=lambda: None))
    handlers = Handlers(world.store, outbox, world.time)
    await handlers.content.start_at(lambda: cast("Subscription", Reading()))(
        [TopicPartition(CONTENT.name, 0)]
    )
    answer = ContentAnswered(claim="hers", item="mail-1", content=content(email()), unavailable=None)
    batch = Batch([received(CONTENT, (BEN.tenant, BEN.oid), answer)])

    await handlers.on_content(batch)

    assert [reason.field for _, reason in batch.rejections] == ["claim"]
    async with world.store.transaction() as session:
        left = await world.store.claims.one("hers", session)
    assert left
    assert left.state is ClaimState.OPEN
