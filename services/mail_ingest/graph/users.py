"""The owner of a mailbox."""

from dataclasses import dataclass

from shared.addresses import normalise
from shared.keys import MailboxKey

from .client import GraphClient, quote_segment

FIELDS = "id,mail,userPrincipalName,proxyAddresses"


@dataclass(frozen=True, slots=True)
class GraphUser:
    """A user.

    Attributes:
        oid: the Entra object id, in lower case.
        addresses: all of the user's addresses, normalised.
    """

    oid: str
    addresses: frozenset[str]


class UserCalls:
    """Reads users. The errors are those of `GraphClient.request`."""

    def __init__(self, client: GraphClient) -> None:
        self._client = client

    async def find(self, tenant: str, name: str) -> GraphUser:
        """The user with this object id or user principal name; Graph finds nobody by another address."""
        found = await self._client.request(
            "user", MailboxKey(tenant, name), "GET", f"users/{quote_segment(name)}", {"$select": FIELDS}
        )
        listed = found.get("proxyAddresses")
        proxies = [
            proxy.partition(":")[2]
            for proxy in (listed if isinstance(listed, list) else ())
            if isinstance(proxy, str) and proxy.lower().startswith("smtp:")
        ]
        addresses = [found.get("mail"), found.get("userPrincipalName"), *proxies]
        own = frozenset(normalise(each) for each in addresses if each and isinstance(each, str))
        return GraphUser(found["id"].lower(), own)
