"""A write counts once the majority of MongoDB's members has it; on both drivers."""

from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from pydantic import SecretStr
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
    register,
)

from services.mail_ingest.settings import IngestSettings
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import AuditEntry
from shared.events import ActivityKind
from shared.keys import MailboxKey
from shared.mongodb import Driver

ANN = MailboxKey("t", "ann")


class WriteConcerns(CommandListener):
    """The write concerns of the writes to one database."""

    def __init__(self, database: str) -> None:
        self.concerns: set[Any] = set()
        self._database = database

    def started(self, event: CommandStartedEvent) -> None:
        if event.database_name == self._database and event.command_name in {"insert", "update"}:
            self.concerns.add(event.command.get("writeConcern", {}).get("w"))

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...


@pytest.mark.parametrize("driver", get_args(Driver))
async def test_writes_are_acknowledged_by_the_majority_whatever_the_uri_has(
    mongodb_uri: str, mongodb_database: str, driver: Driver
) -> None:
    writes = WriteConcerns(mongodb_database)
    register(writes)  # for clients that are created from now on
    weak = SecretStr(f"{mongodb_uri}&w=1")
    now = datetime.now(UTC)
    store = Store(IngestSettings(mongodb_uri=weak, mongodb_database=mongodb_database), driver)
    await store.mailboxes.enrol({ANN: None}, now)
    await store.mailboxes.add_notified_items({ANN: [(ActivityKind.EMAIL, "i")]})
    await store.audit.insert([AuditEntry(now, "enrol", "t", "ann", "test")])
    await store.close()
    assert writes.concerns == {"majority"}
