"""All calls of Graph that this service makes, on one client."""

from collections.abc import Awaitable, Callable, Collection, Iterator
from functools import partial

from services.mail_ingest.domain.kinds import FolderLiveness, KindTable
from services.mail_ingest.domain.retries import BlockReason
from services.mail_ingest.settings import IngestSettings
from shared.keys import MailboxKey

from .client import GraphClient, Lane
from .errors import GraphUnavailableError, MailboxBlockedError
from .folders import FolderCalls
from .items import ItemCalls
from .subscriptions import SubscriptionCalls
from .users import UserCalls


class Graph:
    """The calls, by what they are about.

    Args:
        settings: address of Graph, the application's credential, address of the webhook, environment.
        kinds: the table of kinds.
        client: replaces the HTTP client as the settings describe it.
    """

    def __init__(self, settings: IngestSettings, kinds: KindTable, client: GraphClient | None = None) -> None:
        self._client = client or GraphClient(settings)
        self._kinds = kinds
        self.items = ItemCalls(self._client, kinds)
        self.folders = FolderCalls(self._client)
        self.subscriptions = SubscriptionCalls(
            self._client, str(settings.webhook_url), settings.environment_name
        )
        self.users = UserCalls(self._client)

    async def find_mailbox_failure(
        self,
        mailbox: MailboxKey,
        failures: Collection[GraphUnavailableError | MailboxBlockedError],
        lane: Lane = Lane.SYNC,
    ) -> GraphUnavailableError | MailboxBlockedError | None:
        """What requests for single items have shown about their mailbox.

        Args:
            mailbox: the mailbox.
            failures: of the requests, if there were any.
            lane: who waits for the answer.

        Returns:
            A failure of the mailbox; None when Graph answers a request about the mailbox itself, or about one
            of its kinds, so that the failures are those of the items, or of another kind.
        """
        for failure in failures:
            if _is_of_mailbox(failure):
                return failure
        first: MailboxBlockedError | None = None
        for check in self._checks(mailbox, lane):
            try:
                await check()
            except GraphUnavailableError as unavailable:
                return unavailable
            except MailboxBlockedError as refused:
                if _is_of_mailbox(refused):
                    return refused
                first = first or refused
            else:
                return None
        return first

    def _checks(self, mailbox: MailboxKey, lane: Lane) -> Iterator[Callable[[], Awaitable[None]]]:
        """Small requests about a mailbox: by its folders, and by each kind that has none."""
        yield partial(self.folders.check, mailbox, lane)
        for kind, row in self._kinds.items():
            if not isinstance(row.liveness, FolderLiveness):
                yield partial(self.items.check, mailbox, kind, lane)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()


def _is_of_mailbox(failure: GraphUnavailableError | MailboxBlockedError) -> bool:
    """True when a failure is never that of a single item or kind: throttling, a refused token or tenant."""
    if isinstance(failure, GraphUnavailableError):
        return failure.throttled
    is_token_refused = failure.status == 401 and not failure.reason.startswith(BlockReason.PERMISSION)
    return failure.tenant_wide or failure.status is None or is_token_refused
