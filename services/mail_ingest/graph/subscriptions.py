"""Graph's subscriptions. A refusal is about the subscription alone, unless it is the authority's."""

import contextlib
from collections.abc import Iterator
from datetime import datetime

from services.mail_ingest.domain.graph_values import format_time
from services.mail_ingest.domain.kinds import KindRow
from services.mail_ingest.domain.retries import BlockReason
from services.mail_ingest.domain.subscriptions import LIFECYCLE_PATH, NOTIFICATION_PATH
from shared.keys import MailboxKey

from .client import GraphClient, quote_segment
from .errors import (
    ItemNotFoundError,
    MailboxBlockedError,
    SubscriptionExistsError,
    SubscriptionRefusedError,
)
from .permissions import needed_permission


class SubscriptionCalls:
    """Creates, renews and deletes subscriptions.

    Raises, from every method:
        GraphUnavailableError: Graph or the authority does not answer now.
        SubscriptionRefusedError: Graph refuses the subscription.
        MailboxBlockedError: the authority refuses the tenant.

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
        with _refusals_of_subscription(body["resource"]):
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
        with _refusals_of_subscription():
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
        with _refusals_of_subscription(), contextlib.suppress(ItemNotFoundError):
            await self._client.request(
                "unsubscribe",
                mailbox,
                "DELETE",
                f"subscriptions/{quote_segment(graph_id)}",
                missing_is_item=True,
            )

    async def _create(self, mailbox: MailboxKey, body: dict[str, str]) -> dict[str, str]:
        created: dict[str, str] = await self._client.request(
            "subscribe", mailbox, "POST", "subscriptions", body=body
        )
        return created

    async def _delete_of_resource(self, mailbox: MailboxKey, resource: str) -> None:
        async for other in self._client.pages("subscriptions", mailbox, "subscriptions", {}):
            if str(other.get("resource")).strip("/").lower() == resource.lower():
                await self.delete(mailbox, str(other["id"]))


@contextlib.contextmanager
def _refusals_of_subscription(resource: str = "") -> Iterator[None]:
    """Translates refusals in the block; `resource` is what the subscription observes."""
    try:
        yield
    except MailboxBlockedError as error:
        if error.tenant_wide:
            raise
        permission = needed_permission(resource)
        needs_name = error.reason == BlockReason.PERMISSION and permission
        raise SubscriptionRefusedError(
            f"{error.reason}:{permission}" if needs_name else error.reason
        ) from error
    except SubscriptionExistsError as error:
        raise SubscriptionRefusedError("graph_409") from error
