"""All calls of Graph that this service makes, on one client."""

from services.mail_ingest.domain.kinds import KindTable
from services.mail_ingest.settings import IngestSettings

from .client import GraphClient
from .folders import FolderCalls
from .items import ItemCalls
from .subscriptions import SubscriptionCalls
from .users import UserCalls


class Graph:
    """The calls, by what they are about.

    Args:
        settings: address of Graph, the application's credential, address of the webhook.
        kinds: the table of kinds.
        client: replaces the HTTP client as the settings describe it.
    """

    def __init__(self, settings: IngestSettings, kinds: KindTable, client: GraphClient | None = None) -> None:
        self._client = client or GraphClient(settings)
        self.items = ItemCalls(self._client, kinds)
        self.folders = FolderCalls(self._client)
        self.subscriptions = SubscriptionCalls(self._client, str(settings.webhook_url))
        self.users = UserCalls(self._client)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()
