"""The whole system with a tenant: its users, mailboxes and CRM records."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from pymongo.collection import Collection

from deploy.local.system import System
from scenarios.administration import Administration
from scenarios.upstream import Record, Upstream
from simulator.control.client import TenantControl

TOPIC_PREFIX = "page-"
TRACKING_DATABASE = f"{TOPIC_PREFIX}tracking"
STORED_TIMEOUT = 60.0
"""Seconds in which tracking stores a record, also while a replica takes over the partitions of another."""


@dataclass
class Office:
    """The system with one tenant."""

    system: System
    tenant: TenantControl
    upstream: Upstream
    stored: Collection[dict[str, Any]]
    """The records in tracking's database."""
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    published: list[Record] = field(default_factory=list)
    """The records of the test that runs."""

    @property
    def home(self) -> str:
        """The address of the page."""
        return self.system["tracking"].url

    def address_of(self, name: str) -> str:
        """The e-mail address of a user."""
        return f"{name.lower().replace(' ', '.')}@contoso.example"

    def token(self, name: str) -> str:
        """An access token for the timeline, as a user gets it by signing in."""
        return self.tenant.mint(self.address_of(name))

    def add_user(self, name: str, *, enrolled: bool = True, **options: Any) -> str:
        """Adds a user, with roles or groups if they are given. Returns the e-mail address."""
        address = self.address_of(name)
        self.tenant.user(address, name=name, **options)
        if enrolled:
            self.enrol(address)
        return address

    def enrol(self, address: str) -> str:
        """Enrols a mailbox. Returns its path in the administration API."""
        enrolled = self._administer("POST", "", {"tenant": self.tenant.id, "mailbox": address})
        return f"/{self.tenant.id}/{enrolled['mailbox']}"

    def mailbox_path(self, address: str) -> str:
        """The path of an enrolled mailbox in the administration API."""
        users = self.tenant.show()["users"]
        return next(f"/{self.tenant.id}/{user['oid']}" for user in users if user["address"] == address)

    def pause(self, mailbox_path: str) -> None:
        self._administer("POST", f"{mailbox_path}/pause")

    def resume(self, mailbox_path: str) -> None:
        self._administer("POST", f"{mailbox_path}/resume")

    def _administer(self, method: str, path: str, body: dict[str, str] | None = None) -> Any:
        """Calls the administration API of mail-ingest."""
        with contextlib.closing(Administration(self.system, self.tenant.id)) as administration:
            return administration.call(method, path, json=body)

    async def publish(self, *records: Record) -> None:
        """Publishes records, and waits until the page can show them; they are deleted when the test ends."""
        self.published += records
        await self.upstream.publish(records)
        names = ["{tenant}/{type}/{id}".format_map(record) for record in records]
        async with asyncio.timeout(STORED_TIMEOUT):
            stored = {"_id": {"$in": names}}
            # Another process writes them.
            while self.stored.count_documents(stored) < len(names):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def delete_published(self) -> None:
        """Deletes the records of this test: a list that grew from test to test would make each one slower."""
        await self.upstream.delete(self.published)
        self.published.clear()

    async def publish_opportunity(self, **fields: Any) -> dict[str, Any]:
        """Publishes a new opportunity with a contact of its own.

        Returns the opportunity, with the contact as a sender (`name`, `address`) under `from`.
        """
        number = next(self.numbers)
        address = f"buyer-{number}@fabrikam.example"
        common = {"tenant": self.tenant.id, "version": 1, "modified_on": f"2026-11-20T09:{number:02}:00Z"}
        contact = {
            **common,
            "type": "contact",
            "id": f"buyer-{number}",
            "name": f"Buyer {number}",
            "emails": [address],
        }
        opportunity = {
            **common,
            "type": "opportunity",
            "id": f"deal-{number}",
            "name": f"Deal {number} of the year",
            "contact_id": contact["id"],
            **fields,
        }
        await self.publish(contact, opportunity)
        return opportunity | {"from": {"name": contact["name"], "address": address}}

    async def add_stakeholder(self, opportunity: dict[str, Any]) -> dict[str, str]:
        """Publishes a contact and adds it to an opportunity, which `publish_again` then publishes.

        Returns the contact as a sender.
        """
        number = next(self.numbers)
        contact = {
            "tenant": self.tenant.id,
            "version": 1,
            "type": "contact",
            "id": f"adviser-{number}",
            "name": f"Adviser {number}",
            "emails": [f"adviser-{number}@adatum.example"],
        }
        await self.publish(contact)
        opportunity["stakeholder_ids"] = [contact["id"]]
        return {"name": f"Adviser {number}", "address": f"adviser-{number}@adatum.example"}

    async def publish_again(self, opportunity: dict[str, Any], **changes: Any) -> None:
        """Publishes an opportunity of `publish_opportunity` with changes."""
        record = {name: value for name, value in opportunity.items() if name != "from"}
        await self.upstream.publish([record | changes | {"version": 2}])

    def send(self, sender: dict[str, str], to: str, subject: str, **mail: Any) -> None:
        """Sends an e-mail; its text is "About <subject>." unless another one is given."""
        self.tenant.send(sender, [to], subject=subject, **({"text": f"About {subject}."} | mail))

    @contextlib.contextmanager
    def slow_graph(self, seconds: float) -> Iterator[None]:
        """Each response of Microsoft Graph takes so long."""
        self.tenant.simulator.limits(latency=seconds)
        try:
            yield
        finally:
            self.tenant.simulator.limits(latency=0.005)

    async def restart(self, name: str, pause: float = 0.0) -> None:
        """Stops a program and starts it again after a pause."""
        drained = await asyncio.to_thread(self.system[name].stop)
        assert drained, "an open stream does not delay the drain"
        await asyncio.sleep(pause)
        await asyncio.to_thread(self.system[name].start)
