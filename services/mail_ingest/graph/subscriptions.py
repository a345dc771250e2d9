"""Graph's subscriptions. A refusal is about the subscription alone, unless it is the authority's."""

import contextlib
from collections.abc import Iterator
from datetime import datetime

from services.mail_ingest.domain.graph_values import format_time
from services.mail_ingest.domain.kinds import KindRow
from services.mail_ingest.domain.retries import BlockReason
from services.mail_ingest.domain.subscriptions import (
    LIFECYCLE_PATH,
    NOTIFICATION_PATH,
    environment_of,
    webhook_address,
)
from shared.keys import MailboxKey

from .client import GraphClient, quote_segment
from .errors import (
    ItemNotFoundError,
    MailboxBlockedError,
    SubscriptionExistsError,
    SubscriptionRefusedError,
)
from .permissions import needed_permission
from .subscription_listing import SubscriptionListing


class SubscriptionCalls:
    """Creates, renews and deletes subscriptions.

    Raises, from every method:
        GraphUnavailableError: Graph or the authority does not answer now.
        SubscriptionRefusedError: Graph refuses the subscription.
        MailboxBlockedError: the authority refuses the tenant.

    Args:
        client: of Graph.
        webhook_url: where Graph reaches the webhook.
        environment: the name by which our subscriptions differ from those of other environments that use the
            same application.
    """

    def __init__(self, client: GraphClient, webhook_url: str, environment: str) -> None:
        self._client = client
        self._listing = SubscriptionListing(client)
        self._webhook_url = webhook_url
        self._environment = environment

    async def create(
        self, mailbox: MailboxKey, row: KindRow, client_state: str, expires: datetime
    ) -> tuple[str, datetime]:
        """Creates a subscription; one of ours that Graph still has for the resource is replaced.

        One of another environment is left alone, and refuses ours.

        Returns:
            Graph's id and the granted end.
        """
        body = {
            "changeType": row.change_types,
            "notificationUrl": webhook_address(self._webhook_url, NOTIFICATION_PATH, self._environment),
            "lifecycleNotificationUrl": webhook_address(self._webhook_url, LIFECYCLE_PATH, self._environment),
            "resource": f"users/{mailbox.mailbox}/{row.subscribed_resource}",
            "expirationDateTime": format_time(expires),
            "clientState": client_state,
        }
        with _refusals_of_subscription(body["resource"]):
            try:
                created = await self._create(mailbox, body)
            except SubscriptionExistsError:
                await self._delete_own(mailbox, body["resource"])
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

    async def _delete_own(self, mailbox: MailboxKey, resource: str) -> None:
        """Deletes our subscriptions for a resource; one of another environment is a refusal."""
        existing = await self._listing.find(mailbox.tenant, resource)
        own = [each for each in existing if environment_of(each.notification_url) == self._environment]
        if existing and not own:
            raise SubscriptionRefusedError(BlockReason.ANOTHER_ENVIRONMENT)
        for each in own:
            await self.delete(mailbox, each.id)


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
