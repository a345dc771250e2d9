"""Records which items tracking follows, so that the workers answer their changes."""

import logging
from collections.abc import Mapping, Sequence

from services.mail_ingest.store.database import Store
from shared.clock import Clock
from shared.events import Followed
from shared.keys import MailboxKey

log = logging.getLogger(__name__)


class FollowRequests:
    """Records the messages `FollowItems`."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def record(self, requests: Mapping[MailboxKey, Sequence[Followed]]) -> None:
        """Records followed items.

        An item that is captured at the version that tracking has is as tracking knows it. Any other item that
        is not compared yet, or whose answer tracking does not have, is fetched like a notified one. An item
        whose time is over is followed no more.
        """
        now = self._clock()
        # The mailboxes first: a sync looks for followed items only where there may be some.
        await self._store.mailbox_work.follow_until(
            {owner: max(each.until for each in named) for owner, named in requests.items()}
        )
        to_fetch = {}
        for owner, named in requests.items():
            latest = {each.item: each for each in named}
            ended = [item for item, each in latest.items() if each.until <= now]
            await self._store.followed_items.delete(owner, ended)
            followed = [each for each in latest.values() if each.until > now]
            unknown = await self._store.followed_items.follow(owner, followed, now)
            if not unknown:
                continue
            captured = await self._store.items.find(owner, [each.item for each in unknown])
            current = {
                item: each
                for item, each in captured.items()
                if each.version == latest[item].version and each.gone is None and each.change_key
            }
            await self._store.followed_items.start_from(owner, current.values())
            if left := [(each.kind, each.item) for each in unknown if each.item not in current]:
                to_fetch[owner] = left
        await self._store.mailbox_work.add_notified_items(to_fetch)
