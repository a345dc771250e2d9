"""Finds our subscriptions by Graph's ids, mostly without MongoDB."""

import time
from collections.abc import Mapping
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

    async def find_candidates(
        self, client_states: Mapping[str, set[str]]
    ) -> dict[str, list[GraphSubscription]]:
        """Finds the subscriptions of many notifications, with one query for those that are not cached.

        Args:
            client_states: Graph's id -> the client states that came with it.

        Returns:
            Graph's id -> the subscriptions that may have it; their secrets decide.
        """
        now = time.monotonic()
        candidates: dict[str, list[GraphSubscription]] = {}
        for graph_id in client_states:
            subscription, until = self._cached.get(graph_id, (None, 0.0))
            candidates[graph_id] = [subscription] if subscription is not None and until >= now else []
        await self._look_up(candidates, client_states, now)
        # Graph may notify before it answers with the subscription's id, and may have answered during the
        # look-up: then neither its id nor its client state was found.
        await self._look_up(candidates, client_states, now)
        return candidates

    async def _look_up(
        self,
        candidates: dict[str, list[GraphSubscription]],
        client_states: Mapping[str, set[str]],
        now: float,
    ) -> None:
        """Adds the stored subscriptions of the ids that have no candidate."""
        missing = [graph_id for graph_id, found in candidates.items() if not found]
        if not missing:
            return
        secrets = set().union(*(client_states[graph_id] for graph_id in missing))
        found = await self._store.subscriptions.find_notified(missing, secrets)
        named = {each.graph_id: each for each in found}
        for graph_id in missing:
            candidates[graph_id] = [
                each
                for each in found
                if each.is_being_created and each.client_state in client_states[graph_id]
            ]
            if (subscription := named.get(graph_id)) is not None:
                self._remember(graph_id, subscription, now)
                candidates[graph_id].insert(0, subscription)

    def _remember(self, graph_id: str, subscription: GraphSubscription, now: float) -> None:
        if len(self._cached) >= MAX_CACHED:
            self._cached.clear()
        self._cached[graph_id] = subscription, now + CACHE_TIME.total_seconds()
