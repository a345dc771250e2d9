"""All calls of Graph that this service makes, on one client."""

from collections.abc import Collection

from services.mail_ingest.domain.kinds import KindTable
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
            failures: of the requests.
            lane: who waits for the answer.

        Returns:
            A failure of the mailbox; None when Graph answers a request about the mailbox itself, so that the
            failures are those of the items.
        """
        for failure in failures:
            if _is_of_mailbox(failure):
                return failure
        try:
            await self.folders.check(mailbox, lane)
        except (GraphUnavailableError, MailboxBlockedError) as failure:
            return failure
        return None

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()


def _is_of_mailbox(failure: GraphUnavailableError | MailboxBlockedError) -> bool:
    """True when a failure is never that of a single item: throttling, a refused token, a refused tenant."""
    if isinstance(failure, GraphUnavailableError):
        return failure.throttled
    return failure.tenant_wide or failure.status in {None, 401}
