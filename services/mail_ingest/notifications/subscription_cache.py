"""Finds our subscriptions by Graph's ids, mostly without MongoDB."""

import time
from collections.abc import Iterable
from datetime import timedelta

from services.mail_ingest.domain.subscriptions import GraphSubscription
from services.mail_ingest.store.database import Store

CACHE_TIME = timedelta(seconds=10)
"""A subscription is not read again within this time."""
MAX_CACHED = 100_000


class SubscriptionCache:
    """Our subscriptions by Graph's id; those that Graph has not named yet are candidates for any id."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cached: dict[str, tuple[GraphSubscription, float]] = {}

    async def find_candidates(self, graph_ids: Iterable[str]) -> dict[str, list[GraphSubscription]]:
        """Graph's id -> the subscriptions that may have it; their secrets decide."""
        now = time.monotonic()
        candidates: dict[str, list[GraphSubscription]] = {}
        unknown: set[str] = set()
        for graph_id in set(graph_ids):
            subscription = await self._find(graph_id, now)
            if subscription is None:
                unknown.add(graph_id)
            else:
                candidates[graph_id] = [subscription]
        if unknown:
            # Graph may notify before it answers with the subscription's id, and may have answered since the
            # first look-up.
            being_created = await self._store.subscriptions.find_being_created()
            for graph_id in unknown:
                created = await self._store.subscriptions.find_by_graph_id(graph_id)
                candidates[graph_id] = [created, *being_created] if created else being_created
        return candidates

    async def _find(self, graph_id: str, now: float) -> GraphSubscription | None:
        subscription, until = self._cached.get(graph_id, (None, 0.0))
        if subscription is not None and until >= now:
            return subscription
        subscription = await self._store.subscriptions.find_by_graph_id(graph_id)
        if subscription is not None:
            if len(self._cached) >= MAX_CACHED:
                self._cached.clear()
            self._cached[graph_id] = subscription, now + CACHE_TIME.total_seconds()
        return subscription
