"""The records of the run, and their changes on Kafka."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiokafka.errors import KafkaError

from scenarios.chaos.whole.join import RecordId
from scenarios.upstream import Upstream

RETRY_SECONDS = 0.5
SEND_SECONDS = 8.0
UPSTREAM_OPTIONS = {"request_timeout_ms": 3000, "metadata_max_age_ms": 3000}


@dataclass
class Crm:
    """The upstream system; a client of its own for each record, so that no fault of Kafka keeps it."""

    bootstrap: str
    topic: str
    tenant: str
    records: dict[RecordId, dict[str, Any]] = field(default_factory=dict)
    _order: defaultdict[RecordId, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    async def change(self, type_: str, id_: str, **fields: Any) -> None:
        """Publish a record with these fields, again and again until Kafka acknowledges it."""
        async with self._order[type_, id_]:  # the changes of a record one after another
            before = self.records.get((type_, id_), {"type": type_, "id": id_, "tenant": self.tenant})
            record = {**before, **fields, "version": before.get("version", 0) + 1}
            self.records[type_, id_] = record
            while True:
                if await self._publish(record):
                    return
                await asyncio.sleep(RETRY_SECONDS)

    async def _publish(self, record: dict[str, Any]) -> bool:
        """Publish once; whether Kafka has acknowledged it."""
        with suppress(KafkaError, OSError, TimeoutError):
            async with (
                asyncio.timeout(SEND_SECONDS),
                Upstream(self.bootstrap, self.topic, **UPSTREAM_OPTIONS) as upstream,
            ):
                await upstream.publish([record])
                return True
        return False


def deal_records(number: int) -> Iterator[dict[str, Any]]:
    """An account, its contact, and an opportunity of this contact."""
    yield {"type": "account", "id": f"account-{number}", "name": f"Account {number}"}
    yield {
        "type": "contact",
        "id": f"contact-{number}",
        "parent_account_id": f"account-{number}",
        "emails": [client_address(number)],
    }
    yield {
        "type": "opportunity",
        "id": f"deal-{number}",
        "contact_id": f"contact-{number}",
        "stakeholder_ids": [],
        "readers": ["*"],
    }


def client_address(number: int) -> str:
    """The address of a deal's contact."""
    return f"client-{number}@partner.example"
