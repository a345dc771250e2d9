"""A tenant that is refused: one probe for all of its mailboxes, and no storm afterwards."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, cast

import pytest
from pydantic import SecretStr

from services.mail_ingest.graph.errors import GraphUnavailableError, MailboxBlockedError
from services.mail_ingest.settings import IngestSettings
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import Mailbox, Work
from services.mail_ingest.store.lease import Lease
from services.mail_ingest.sync.blocking import MailboxBlocking
from services.mail_ingest.sync.item_reader import GraphFailure
from services.mail_ingest.sync.tenant_blocking import TenantBlocking
from shared.events import MailboxStatus
from shared.keys import MailboxKey

TENANT = "t"
LEASE = timedelta(minutes=5)
UNAVAILABLE = GraphUnavailableError("Graph does not answer")
REFUSED = MailboxBlockedError("credential_refused", tenant_wide=True)


class Office:
    """A tenant's mailboxes, synced one after another.

    Attributes:
        failures: what Graph answers to each mailbox; nothing: it serves it.
        requests: the mailboxes for which Graph was called.
    """

    def __init__(self, store: Store, settings: IngestSettings) -> None:
        self.store = store
        self.now = datetime.now(UTC)
        self.failures: dict[str, GraphFailure] = {}
        self.requests: list[str] = []
        self._settings = settings

    async def enrol(self, *names: str) -> None:
        for name in names:
            await self.store.mailboxes.enrol({MailboxKey(TENANT, name): ["a@contoso.com"]}, self.now)
            assert await self.store.mailbox_leases.acquire_lease(Work.ROUTINE, "holder", LEASE, self.now)

    async def fail(self, name: str, failure: GraphFailure) -> None:
        """A sync of a mailbox that ends in a failure."""
        await self.sync(name, failure)

    async def sync(self, name: str, failure: GraphFailure | None = None) -> None:
        """A sync of a mailbox that requests something of it, as far as the tenant permits."""
        key = MailboxKey(TENANT, name)
        held = self.store.mailbox_leases.held(Lease(key, "holder", LEASE, time.monotonic()))
        office = self

        class StubGraph:
            async def find_mailbox_failure(self, *_: Any) -> GraphFailure | None:
                office.requests.append(name)
                return office.failures.get(name)

        class State:
            async def record_and_publish(self, **changes: Any) -> None:
                await held.record_state(office.now, **changes)

        graph, state = cast("Any", StubGraph()), cast("Any", State())
        tenant = TenantBlocking(self.store, held, graph, state, lambda: self.now, self._settings)
        blocking = MailboxBlocking(held, graph, state, tenant, lambda: self.now, self._settings)
        if failure:
            await blocking.record_failure(failure)
            return
        mailbox = await self.read(name)
        if mailbox.retry_at and mailbox.retry_at > self.now:
            return
        try:
            if await tenant.permits_requests(mailbox):
                await blocking.unblock(mailbox)
        except (MailboxBlockedError, GraphUnavailableError) as error:
            await blocking.record_failure(error)

    async def sync_all(self) -> list[str]:
        """Syncs every mailbox that is due; returns for which of them Graph was called."""
        self.requests.clear()
        for mailbox in await self.store.mailboxes.find_page(TENANT, None, 100):
            await self.sync(mailbox.mailbox)
        return list(dict.fromkeys(self.requests))

    async def read(self, name: str) -> Mailbox:
        mailbox = await self.store.mailboxes.find(MailboxKey(TENANT, name))
        assert mailbox
        return mailbox

    async def states(self) -> set[tuple[str, str | None]]:
        return {
            (each.status.value, each.reason)
            for each in await self.store.mailboxes.find_page(TENANT, None, 100)
        }

    async def next_probe(self) -> list[str]:
        """Moves the clock until Graph is called for a mailbox; returns for which."""
        for _ in range(10):
            mailboxes = await self.store.mailboxes.find_page(TENANT, None, 100)
            self.now = min(each.retry_at for each in mailboxes if each.retry_at)
            if requested := await self.sync_all():
                return requested
        return []


@pytest.fixture
async def office(mongodb_uri: str, mongodb_database: str) -> AsyncIterator[Office]:
    settings = IngestSettings(
        mongodb_uri=SecretStr(mongodb_uri),
        mongodb_database=mongodb_database,
        retry_blocked=timedelta(minutes=1),
    )
    store = Store(settings)
    await store.create_indexes()
    yield Office(store, settings)
    await store.close()


async def block_all(office: Office, *names: str) -> None:
    """Enrols mailboxes, and blocks the tenant by a refusal of the authority."""
    await office.enrol(*names)
    office.failures = dict.fromkeys(names, REFUSED)
    await office.fail(names[0], REFUSED)


async def test_refusal_of_the_authority_blocks_all_mailboxes_and_one_of_them_is_the_probe(
    office: Office,
) -> None:
    names = [f"m{number}" for number in range(6)]
    await block_all(office, *names)
    assert await office.states() == {("blocked", "credential_refused")}
    assert await office.sync_all() == []

    probes = [await office.next_probe() for _ in range(4)]

    assert [len(each) for each in probes] == [1, 1, 1, 1]
    assert all(one != other for one, other in pairwise(probes))
    block = await office.store.tenants.find(TENANT)
    assert block is not None
    assert (block.failures, block.retry_at - office.now) == (5, timedelta(minutes=16))


async def test_mailboxes_of_a_tenant_that_is_no_longer_blocked_are_not_retried_together(
    office: Office,
) -> None:
    names = [f"m{number}" for number in range(6)]
    await block_all(office, *names)
    office.failures = {}

    probe = (await office.next_probe())[0]

    assert (await office.read(probe)).status is MailboxStatus.ENROLLED
    assert await office.store.tenants.find_page(None, 10) == []
    others = {(await office.read(name)).retry_at for name in names if name != probe}
    assert len(others) == 5, "all at the same time"
    assert None not in others
    assert max(each for each in others if each) <= office.now + timedelta(seconds=2)
    office.now += timedelta(seconds=2)
    await office.sync_all()
    assert await office.states() == {("enrolled", None)}


async def test_mailbox_of_a_blocked_tenant_that_is_resumed_is_the_probe(office: Office) -> None:
    await block_all(office, "ann", "bo")
    office.failures = {}
    await office.enrol("cy")  # waits, too
    assert await office.sync_all() == []
    assert (await office.read("cy")).reason == "credential_refused"

    await office.store.tenants.request_probe(TENANT, office.now)
    held = await office.read("ann")
    await office.store.mailboxes.change_status(
        held.key, MailboxStatus.ENROLLED, office.now, only_from=[MailboxStatus.BLOCKED]
    )

    assert await office.sync_all() == ["ann"]
    assert await office.store.tenants.find_page(None, 10) == []


async def test_401_of_one_mailbox_is_not_the_tenants_and_that_of_several_is(office: Office) -> None:
    await office.enrol("a", "b", "c", "d")
    for name in ("a", "b"):
        await office.fail(name, MailboxBlockedError("token_refused"))
        await office.fail(name, MailboxBlockedError("token_refused"))
    assert await office.states() == {("blocked", "token_refused"), ("enrolled", None)}

    await office.fail("c", MailboxBlockedError("token_refused"))
    assert await office.states() == {("blocked", "token_refused")}

    office.failures = dict.fromkeys("abc", MailboxBlockedError("token_refused"))
    while await office.store.tenants.find(TENANT):
        assert len(await office.next_probe()) <= 1
    for _ in range(3):
        await office.next_probe()
    assert (await office.read("d")).status is MailboxStatus.ENROLLED
    assert await office.store.tenants.find_page(None, 10) == [], "the three are refused for themselves"


async def test_several_mailboxes_are_not_the_tenant_while_others_are_served(office: Office) -> None:
    await office.enrol("a", "b", "c", "d")
    key = MailboxKey(TENANT, "d")
    held = office.store.mailbox_leases.held(Lease(key, "holder", LEASE, time.monotonic()))
    await held.set_fields(complete_as_of=office.now)

    for name in ("a", "b", "c"):
        await office.fail(name, MailboxBlockedError("permission:Mail.Read"))

    assert await office.store.tenants.find_page(None, 10) == []


@pytest.mark.parametrize(
    "failure, is_blocked",
    [(MailboxBlockedError("access_policy"), False), (GraphUnavailableError("the authority is away"), True)],
)
async def test_probe_decides_only_what_it_shows(
    office: Office, failure: GraphFailure, is_blocked: bool
) -> None:
    await block_all(office, "ann", "bo")
    office.failures = {"ann": failure, "bo": failure}

    await office.next_probe()

    assert bool(await office.store.tenants.find_page(None, 10)) is is_blocked


async def test_short_outages_do_not_prolong_the_back_off_of_a_refusal(office: Office) -> None:
    await office.enrol("a")
    refused = MailboxBlockedError("access_policy", status=403)
    waits = []
    for failure in (refused, UNAVAILABLE, UNAVAILABLE, refused, UNAVAILABLE):
        await office.fail("a", failure)
        retry_at = (await office.read("a")).retry_at
        assert retry_at
        waits.append((retry_at - office.now).total_seconds())

    assert [round(wait) for wait in waits] == [60, 2, 4, 120, 2]
