"""A call of each operation of the store, such that it sends all its commands; it may be repeated."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta
from uuid import uuid4

from services.mail_ingest.domain.subscriptions import GraphSubscription
from services.mail_ingest.domain.tenants import TenantBlock
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import AuditEntry, Mailbox, NotifiedItem, Work
from services.mail_ingest.store.held_mailbox import HeldMailbox
from services.mail_ingest.store.lease import LeaseLostError
from services.mail_ingest.store.marks import TopicMark
from shared.events import Followed, MailboxStatus
from shared.keys import ItemKey

from .stores import ANN, BO, EMAIL, LEASE, acquire, held_by, now, request, stuck, update

TENANT, OTHER_TENANT = "t", "blocked"
ITEM = "i"
ITEM_KEY = ItemKey(ANN.tenant, ANN.mailbox, ITEM)
SUBSCRIPTION = GraphSubscription("s", ANN, EMAIL, "secret", graph_id="g", renew_at=now())
NAMED = Followed(item=ITEM, kind=EMAIL, version=1, until=now() + timedelta(days=1))
ENROLLED = [MailboxStatus.ENROLLED]

Call = Callable[[Store], Awaitable[object]]


def _block(tenant: str) -> TenantBlock:
    return TenantBlock(tenant, "token_refused", now(), 1, now())


def _held(call: Callable[[HeldMailbox], Awaitable[object]]) -> Call:
    return lambda store: call(held_by(store, "holder"))


def _seen() -> Mailbox:
    return Mailbox(ANN.tenant, ANN.mailbox, MailboxStatus.ENROLLED, now())


async def _all(pages: AsyncIterator[object]) -> None:
    async for _ in pages:
        pass


async def _read(held: HeldMailbox) -> None:
    with contextlib.suppress(LeaseLostError):
        await held.read()


async def prepare(store: Store) -> None:
    """Stores what the operations change."""
    await store.mailboxes.enrol({ANN: None, BO: None}, now())
    await acquire(store, "holder")
    await store.items.record(ANN, "holder", [update(ITEM, 0, 1)])
    await store.tenants.insert(_block(OTHER_TENANT))
    await store.followed_items.follow(ANN, [NAMED], now())
    await store.stuck_items.save([stuck(ITEM)])


OPERATIONS: Mapping[str, Call] = {
    "AuditCollection.insert": lambda s: s.audit.insert([AuditEntry(now(), "enrol", "t", "ann", "test")]),
    # -- followed items
    "FollowedItemCollection.create_indexes": lambda s: s.followed_items.create_indexes(),
    "FollowedItemCollection.delete": lambda s: s.followed_items.delete(BO),
    "FollowedItemCollection.find": lambda s: s.followed_items.find(ANN, [ITEM], now()),
    "FollowedItemCollection.find_all": lambda s: s.followed_items.find_all(ANN, now()),
    "FollowedItemCollection.follow": lambda s: s.followed_items.follow(ANN, [NAMED], now()),
    "FollowedItemCollection.hand_out_version": lambda s: s.followed_items.hand_out_version(ANN, ITEM, 1),
    "FollowedItemCollection.record_answer": lambda s: s.followed_items.record_answer(ANN, ITEM, 1, gone=True),
    "FollowedItemCollection.record_check": lambda s: s.followed_items.record_check(ANN, [ITEM], now()),
    "FollowedItemCollection.remember": lambda s: s.followed_items.remember(ANN, EMAIL, "r", 1, "d", now()),
    "FollowedItemCollection.start_from": lambda s: s.followed_items.start_from(
        ANN, [update(ITEM, 0, 1).captured]
    ),
    # -- a mailbox with its lease
    "HeldMailbox.add_clock_times": _held(lambda h: h.add_clock_times(now(), now())),
    "HeldMailbox.add_missed": _held(lambda h: h.add_missed(1)),
    "HeldMailbox.add_stuck_items_due_at": _held(lambda h: h.add_stuck_items_due_at(now())),
    "HeldMailbox.finish_pending_items": _held(lambda h: h.finish_pending_items(None)),
    "HeldMailbox.finish_window": _held(lambda h: h.finish_window(_seen(), now(), now())),
    "HeldMailbox.read": _held(_read),
    "HeldMailbox.record_state": _held(lambda h: h.record_state(now(), only_from=ENROLLED, reason=None)),
    "HeldMailbox.release_lease": _held(lambda h: h.release_lease()),
    "HeldMailbox.remove_content_requests": _held(lambda h: h.remove_content_requests(["r"])),
    "HeldMailbox.remove_notified_items": _held(
        lambda h: h.remove_notified_items([NotifiedItem(EMAIL, ITEM, 1)])
    ),
    "HeldMailbox.renew_lease": _held(lambda h: h.renew_lease()),
    "HeldMailbox.schedule_stuck_items": _held(lambda h: h.schedule_stuck_items(None, now())),
    "HeldMailbox.schedule_subscriptions": _held(lambda h: h.schedule_subscriptions(None, now())),
    "HeldMailbox.set_fields": _held(lambda h: h.set_fields(failures=0)),
    "HeldMailbox.set_profile": _held(lambda h: h.set_profile("addresses", frozenset(), None, now())),
    # -- instances
    # -- recovery
    "ItemStates.find": lambda s: s.item_states.find([ITEM_KEY]),
    "ItemStates.make_due": lambda s: s.item_states.make_due([ITEM_KEY]),
    "ItemStates.overrule": lambda s: s.item_states.overrule({ITEM_KEY: 1}),
    "MailboxStates.find": lambda s: s.mailbox_states.find([ANN]),
    "MailboxStates.make_due": lambda s: s.mailbox_states.make_due([ANN]),
    "MailboxStates.overrule": lambda s: s.mailbox_states.overrule({ANN: 1}),
    "MailboxCollection.is_empty": lambda s: s.mailboxes.is_empty(),
    "MarkCollection.advance": lambda s: s.marks.advance("topic", TopicMark("id"), {0: 1}),
    "MarkCollection.find_all": lambda s: s.marks.find_all(),
    "MarkCollection.replace": lambda s: s.marks.replace({"topic": TopicMark("id", {0: 1})}),
    "RecoveredStates.begin_anew": lambda s: s.recovered.begin_anew([ANN]),
    "RecoveredStates.overrule_mailboxes": lambda s: s.recovered.overrule_mailboxes({ANN: 1}),
    "RecoveredStates.remove_mailboxes": lambda s: s.recovered.remove_mailboxes(["t/nobody"], 1, now()),
    "RecoveredStates.take_in_items": lambda s: s.recovered.take_in_items(
        {ITEM_KEY: update(ITEM, 0, 1).captured}
    ),
    "RecoveredStates.take_in_mailboxes": lambda s: s.recovered.take_in_mailboxes([_seen()]),
    "RecoveredStates.walk_published_items": lambda s: _all(s.recovered.walk_published_items()),
    "RecoveredStates.walk_published_mailboxes": lambda s: _all(s.recovered.walk_published_mailboxes()),
    "RecoveredStates.withdraw_items": lambda s: s.recovered.withdraw_items(["t/ann/other"], 1, now()),
    # -- instances
    "InstanceCollection.claim": lambda s: s.instances.claim("replica-1", "process", LEASE),
    "InstanceCollection.release": lambda s: s.instances.release("replica-1", "other"),
    "InstanceCollection.report_refusal": lambda s: s.instances.report_refusal("replica-1", "process"),
    "InstanceCollection.show_alive": lambda s: s.instances.show_alive("replica-1", "process"),
    # -- items
    "ItemCollection.acknowledge": lambda s: s.items.acknowledge(ANN, {ITEM: 0}),
    "ItemCollection.count_by_owner": lambda s: s.items.count_by_owner([ANN]),
    "ItemCollection.count_live": lambda s: s.items.count_live(ANN),
    "ItemCollection.count_pending": lambda s: s.items.count_pending(),
    "ItemCollection.create_indexes": lambda s: s.items.create_indexes(),
    "ItemCollection.find": lambda s: s.items.find(ANN, [ITEM]),
    "ItemCollection.find_entering": lambda s: s.items.find_entering(ANN, now(), 1),
    "ItemCollection.find_expired": lambda s: s.items.find_expired(ANN, now(), 1),
    "ItemCollection.find_live": lambda s: s.items.find_live(ANN),
    "ItemCollection.find_pending": lambda s: s.items.find_pending(ANN, 1),
    "ItemCollection.find_pending_tombstones": lambda s: s.items.find_pending_tombstones(ANN, 1),
    "ItemCollection.forget_entries": lambda s: s.items.forget_entries(ANN, [ITEM], now()),
    "ItemCollection.mark_pending": lambda s: s.items.mark_pending(ANN, now()),
    "ItemCollection.next_entry": lambda s: s.items.next_entry(ANN),
    "ItemCollection.next_expiry": lambda s: s.items.next_expiry(ANN),
    "ItemCollection.record": lambda s: s.items.record(ANN, "holder", [update("new", 0, 1)]),
    "ItemCollection.set_missing_counts": lambda s: s.items.set_missing_counts(ANN, {ITEM: 1}),
    # -- mailboxes
    "MailboxCollection.acknowledge": lambda s: s.mailboxes.acknowledge(ANN, 1),
    "MailboxLeases.acquire_lease": lambda s: s.mailbox_leases.acquire_lease(
        Work.FRESH, "other", LEASE, now()
    ),
    "MailboxWork.add_content_requests": lambda s: s.mailbox_work.add_content_requests({ANN: [request()]}),
    "MailboxWork.add_notified_items": lambda s: s.mailbox_work.add_notified_items({ANN: [(EMAIL, ITEM)]}),
    "TenantMailboxes.block_tenant": lambda s: s.tenant_mailboxes.block_tenant(TENANT, "policy", now(), now()),
    "MailboxCollection.change_status": lambda s: s.mailboxes.change_status(
        BO, MailboxStatus.PAUSED, now(), only_from=ENROLLED
    ),
    "MailboxCounts.count_work": lambda s: s.mailbox_counts.count_work(),
    "MailboxCollection.create_indexes": lambda s: s.mailboxes.create_indexes(),
    "MailboxLeases.end_leases": lambda s: s.mailbox_leases.end_leases("replica-1"),
    "MailboxCollection.enrol": lambda s: s.mailboxes.enrol({ANN: None, BO: None}, now()),
    "MailboxCollection.find": lambda s: s.mailboxes.find(ANN),
    "TenantMailboxes.find_last_success": lambda s: s.tenant_mailboxes.find_last_success(TENANT),
    "MailboxCollection.find_page": lambda s: s.mailboxes.find_page(None, None, 1),
    "TenantMailboxes.find_refused_since": lambda s: s.tenant_mailboxes.find_refused_since(TENANT, "policy"),
    "MailboxWork.follow_until": lambda s: s.mailbox_work.follow_until({ANN: now()}),
    "MailboxCollection.mark_items_pending": lambda s: s.mailboxes.mark_items_pending([ANN]),
    "MailboxCollection.mark_pending": lambda s: s.mailboxes.mark_pending([ANN]),
    "TenantMailboxes.release_tenant": lambda s: s.tenant_mailboxes.release_tenant(TENANT, "policy", now()),
    "MailboxWork.report_series_change": lambda s: s.mailbox_work.report_series_change(ANN),
    "MailboxWork.request_stuck_items": lambda s: s.mailbox_work.request_stuck_items(ANN),
    "MailboxWork.request_subscription_work": lambda s: s.mailbox_work.request_subscription_work([ANN]),
    "MailboxWork.request_window": lambda s: s.mailbox_work.request_window(ANN),
    "MailboxCollection.walk": lambda s: _all(s.mailboxes.walk(None, None)),
    # -- slots
    "RequestSlotCollection.acquire": lambda s: s.request_slots.acquire(ANN, "holder", LEASE),
    "RequestSlotCollection.release": lambda s: s.request_slots.release(ANN, "holder"),
    # -- the whole
    "Store.acknowledge_items": lambda s: s.acknowledge_items(ANN, {ITEM: 0}),
    "Store.count_work": lambda s: s.count_work(),
    "Store.create_indexes": lambda s: s.create_indexes(),
    "Store.list_mailboxes": lambda s: s.list_mailboxes(None, None, 1),
    "Store.ping": lambda s: s.ping(),
    "Store.resend": lambda s: _all(s.resend(None, None, now())),
    # -- stuck items
    "StuckItemCollection.count_by_reason": lambda s: s.stuck_items.count_by_reason(),
    "StuckItemCollection.create_indexes": lambda s: s.stuck_items.create_indexes(),
    "StuckItemCollection.delete": lambda s: s.stuck_items.delete(BO),
    "StuckItemCollection.drop": lambda s: s.stuck_items.drop(BO, None),
    "StuckItemCollection.find": lambda s: s.stuck_items.find(ANN, [ITEM]),
    "StuckItemCollection.find_due": lambda s: s.stuck_items.find_due(ANN, now(), 1),
    "StuckItemCollection.find_ids": lambda s: s.stuck_items.find_ids(ANN),
    "StuckItemCollection.find_page": lambda s: s.stuck_items.find_page(None, None, 1),
    "StuckItemCollection.make_due": lambda s: s.stuck_items.make_due(ANN, None, now()),
    "StuckItemCollection.next_retry": lambda s: s.stuck_items.next_retry(ANN),
    "StuckItemCollection.save": lambda s: s.stuck_items.save([stuck(ITEM)]),
    # -- subscriptions
    "SubscriptionCollection.count_active": lambda s: s.subscriptions.count_active(),
    "SubscriptionCollection.create_indexes": lambda s: s.subscriptions.create_indexes(),
    "SubscriptionCollection.delete": lambda s: s.subscriptions.delete(["other"]),
    "SubscriptionCollection.find_by_owner": lambda s: s.subscriptions.find_by_owner(ANN),
    "SubscriptionCollection.find_notified": lambda s: s.subscriptions.find_notified(["g"], ["secret"]),
    "SubscriptionCollection.insert": lambda s: s.subscriptions.insert(
        GraphSubscription(uuid4().hex, ANN, EMAIL, "secret")
    ),
    "SubscriptionCollection.mark_due": lambda s: s.subscriptions.mark_due(["g"], now()),
    "SubscriptionCollection.mark_removed": lambda s: s.subscriptions.mark_removed(["g"]),
    "SubscriptionCollection.set_created": lambda s: s.subscriptions.set_created("s", "g", now(), now()),
    "SubscriptionCollection.set_renewed": lambda s: s.subscriptions.set_renewed(SUBSCRIPTION, now(), now()),
    # -- tenants
    "TenantCollection.begin_probe": lambda s: s.tenants.begin_probe(OTHER_TENANT, now(), now()),
    "TenantCollection.count": lambda s: s.tenants.count(),
    "TenantCollection.delete": lambda s: s.tenants.delete("unknown"),
    "TenantCollection.find": lambda s: s.tenants.find(OTHER_TENANT),
    "TenantCollection.find_for_sync": lambda s: s.tenants.find_for_sync(OTHER_TENANT),
    "TenantCollection.find_page": lambda s: s.tenants.find_page(None, 1),
    "TenantCollection.insert": lambda s: s.tenants.insert(_block(uuid4().hex)),
    "TenantCollection.request_probe": lambda s: s.tenants.request_probe(OTHER_TENANT, now()),
    "TenantCollection.update": lambda s: s.tenants.update(_block(OTHER_TENANT)),
}
EXPECT_DUPLICATES = {
    "ItemCollection.record",
    "MailboxCollection.enrol",
    "RecoveredStates.take_in_items",
    "RecoveredStates.take_in_mailboxes",
    "RequestSlotCollection.acquire",
    "TenantCollection.insert",
}
"""The operations to which another process's document is an answer."""
