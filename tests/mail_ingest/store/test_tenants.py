"""Blocked tenants, as the syncs of their mailboxes look them up."""

import pytest

from services.mail_ingest.domain.tenants import TenantBlock
from services.mail_ingest.store import tenants
from services.mail_ingest.store.database import Store

from .stores import now

BLOCK = TenantBlock("t", "credential_refused", now(), 1, now())


async def test_tenant_that_becomes_blocked_here_is_blocked_at_once(store: Store) -> None:
    assert await store.tenants.find_for_sync("t") is None

    await store.tenants.insert(BLOCK)

    found = await store.tenants.find_for_sync("t")
    assert found is not None
    assert found.reason == BLOCK.reason


async def test_tenant_that_another_replica_blocks_is_found_a_little_later(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenants, "time", clock := Clock())
    assert await store.tenants.find_for_sync("t") is None
    other = tenants.TenantCollection(store._database)
    await other.insert(BLOCK)
    assert await store.tenants.find_for_sync("t") is None

    clock.now += tenants.CACHE_TIME.total_seconds()

    assert await store.tenants.find_for_sync("t") is not None


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now
