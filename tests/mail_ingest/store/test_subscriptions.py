"""Work on subscriptions is due again after a lifecycle event."""

import asyncio
from datetime import timedelta

from services.mail_ingest.domain.kinds import KINDS
from services.mail_ingest.domain.subscriptions import GraphSubscription, plan_subscriptions
from services.mail_ingest.store.database import Store
from shared.events import ActivityKind

from .stores import (
    ANN,
    acquire,
    now,
    read,
)


async def test_lifecycle_event_during_work_on_subscriptions_is_handled_next(store: Store) -> None:
    in_a_day, in_six_days = now() + timedelta(days=1), now() + timedelta(days=6)
    for number, kind in enumerate(ActivityKind):
        await store.subscriptions.insert(GraphSubscription(f"key-{number}", ANN, kind, "secret"))
        await store.subscriptions.set_created(f"key-{number}", f"graph-{number}", in_a_day, in_six_days)

    async def lifecycle(*graph_ids: str) -> None:
        await store.subscriptions.mark_due(graph_ids, now())
        await store.mailbox_work.request_subscription_work([ANN])

    await lifecycle("graph-0")
    held = await acquire(store)
    mailbox = await held.read()
    due, _ = sorted(await store.subscriptions.find_by_owner(ANN), key=lambda each: each.key)

    await asyncio.sleep(0.01)  # MongoDB's clock has milliseconds
    await lifecycle("graph-0", "graph-1")
    await store.subscriptions.set_renewed(due, in_a_day, in_six_days)
    await held.schedule_subscriptions(mailbox.subscriptions_due_at, in_a_day)

    plan = plan_subscriptions(await store.subscriptions.find_by_owner(ANN), now(), KINDS)
    assert {each.graph_id for each in plan.renew} == {"graph-0", "graph-1"}
    mailbox = await held.read()
    assert mailbox.subscriptions_due_at is not None
    assert mailbox.subscriptions_due_at < now() + timedelta(hours=1)

    for each in plan.renew:
        await store.subscriptions.set_renewed(each, in_a_day, in_six_days)
    await held.schedule_subscriptions(mailbox.subscriptions_due_at, in_a_day)
    assert not plan_subscriptions(await store.subscriptions.find_by_owner(ANN), now(), KINDS)
    assert (await read(store)).subscriptions_due_at > now() + timedelta(hours=1)  # type: ignore[operator]
