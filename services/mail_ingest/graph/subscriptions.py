"""Graph's subscriptions."""

from datetime import datetime

from services.mail_ingest.domain.graph_values import format_time
from services.mail_ingest.domain.kinds import KindRow
from services.mail_ingest.domain.subscriptions import LIFECYCLE_PATH, NOTIFICATION_PATH
from shared.keys import MailboxKey

from .client import GraphClient, quote_segment
from .errors import ItemNotFoundError, SubscriptionExistsError


class SubscriptionCalls:
    """Creates, renews and deletes subscriptions. The errors are those of `GraphClient.request`.

    Args:
        client: of Graph.
        webhook_url: where Graph reaches the webhook.
    """

    def __init__(self, client: GraphClient, webhook_url: str) -> None:
        self._client = client
        self._webhook_url = webhook_url.rstrip("/")

    async def create(
        self, mailbox: MailboxKey, row: KindRow, client_state: str, expires: datetime
    ) -> tuple[str, datetime]:
        """Creates a subscription; one of ours that Graph still has for the resource is replaced.

        Returns:
            Graph's id and the granted end.
        """
        body = {
            "changeType": row.change_types,
            "notificationUrl": self._webhook_url + NOTIFICATION_PATH,
            "lifecycleNotificationUrl": self._webhook_url + LIFECYCLE_PATH,
            "resource": f"users/{mailbox.mailbox}/{row.subscribed_resource}",
            "expirationDateTime": format_time(expires),
            "clientState": client_state,
        }
        try:
            created = await self._create(mailbox, body)
        except SubscriptionExistsError:
            await self._delete_of_resource(mailbox, body["resource"])
            created = await self._create(mailbox, body)
        return str(created["id"]), datetime.fromisoformat(created["expirationDateTime"])

    async def renew(self, mailbox: MailboxKey, graph_id: str, expires: datetime) -> datetime:
        """Renews a subscription, which also re-authorises it.

        Returns:
            The granted end.

        Raises:
            ItemNotFoundError: Graph no longer has the subscription.
        """
        renewed = await self._client.request(
            "renew",
            mailbox,
            "PATCH",
            f"subscriptions/{quote_segment(graph_id)}",
            body={"expirationDateTime": format_time(expires)},
            missing_is_item=True,
        )
        return datetime.fromisoformat(renewed["expirationDateTime"])

    async def delete(self, mailbox: MailboxKey, graph_id: str) -> None:
        """Deletes a subscription; nothing happens when Graph no longer has it."""
        try:
            await self._client.request(
                "unsubscribe",
                mailbox,
                "DELETE",
                f"subscriptions/{quote_segment(graph_id)}",
                missing_is_item=True,
            )
        except ItemNotFoundError:
            return

    async def _create(self, mailbox: MailboxKey, body: dict[str, str]) -> dict[str, str]:
        created: dict[str, str] = await self._client.request(
            "subscribe", mailbox, "POST", "subscriptions", body=body, refusal_is_temporary=True
        )
        return created

    async def _delete_of_resource(self, mailbox: MailboxKey, resource: str) -> None:
        async for other in self._client.pages("subscriptions", mailbox, "subscriptions", {}):
            if str(other.get("resource")).strip("/").lower() == resource.lower():
                await self.delete(mailbox, str(other["id"]))
