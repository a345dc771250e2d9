"""A write counts once the majority of MongoDB's members has it, and nothing else is read; on both drivers."""

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

from .operations import OPERATIONS, prepare

ANN = MailboxKey("t", "ann")


class Concerns(CommandListener):
    """The concerns of the commands to one database."""

    def __init__(self, database: str) -> None:
        self.of_writes: set[Any] = set()
        self.of_reads: set[tuple[str, str]] = set()
        self._database = database

    def started(self, event: CommandStartedEvent) -> None:
        if event.database_name != self._database:
            return
        if event.command_name in {"insert", "update", "findAndModify", "delete"}:
            self.of_writes.add(event.command.get("writeConcern", {}).get("w"))
        elif event.command_name in {"find", "aggregate"}:
            concern = event.command.get("readConcern", {}).get("level")
            self.of_reads.add((concern, event.command.get("$readPreference", {}).get("mode", "primary")))

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...


@pytest.mark.parametrize("driver", get_args(Driver))
async def test_writes_are_acknowledged_by_the_majority_whatever_the_uri_has(
    mongodb_uri: str, mongodb_database: str, driver: Driver
) -> None:
    concerns = Concerns(mongodb_database)
    register(concerns)  # for clients that are created from now on
    weak = SecretStr(f"{mongodb_uri}&w=1")
    now = datetime.now(UTC)
    store = Store(IngestSettings(mongodb_uri=weak, mongodb_database=mongodb_database), driver)
    await store.mailboxes.enrol({ANN: None}, now)
    await store.mailbox_work.add_notified_items({ANN: [(ActivityKind.EMAIL, "i")]})
    await store.audit.insert([AuditEntry(now, "enrol", "t", "ann", "test")])
    await store.close()
    assert concerns.of_writes == {"majority"}


@pytest.mark.parametrize("driver", get_args(Driver))
async def test_reads_are_of_the_primary_and_of_what_the_majority_has_whatever_the_uri_has(
    mongodb_uri: str, mongodb_database: str, driver: Driver
) -> None:
    concerns = Concerns(mongodb_database)
    register(concerns)
    weak = SecretStr(f"{mongodb_uri}&w=1&readPreference=secondaryPreferred&readConcernLevel=local")
    store = Store(IngestSettings(mongodb_uri=weak, mongodb_database=mongodb_database), driver)
    await store.create_indexes()
    await prepare(store)
    for operation in OPERATIONS.values():
        await operation(store)
    await store.close()
    assert (concerns.of_reads, concerns.of_writes) == ({("majority", "primary")}, {"majority"})
