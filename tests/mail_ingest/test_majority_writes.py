"""The majority of MongoDB's members has a write before it counts."""

from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
    register,
)

from services.mail_ingest.settings import IngestSettings
from services.mail_ingest.store import Store
from shared.events import Kind


class Writes(CommandListener):
    """The write concerns of the writes to one database."""

    def __init__(self, database: str) -> None:
        self.concerns: set[Any] = set()
        self._database = database

    def started(self, event: CommandStartedEvent) -> None:
        if event.database_name == self._database and event.command_name in {"insert", "update"}:
            self.concerns.add(event.command.get("writeConcern", {}).get("w"))

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...


async def test_writes_are_acknowledged_by_the_majority_whatever_the_uri_says(
    mongodb_uri: str, mongodb_database: str
) -> None:
    writes = Writes(mongodb_database)
    register(writes)  # with clients that are made from now on
    uri = SecretStr(f"{mongodb_uri}&w=1")
    store = Store(IngestSettings(mongodb_uri=uri, mongodb_database=mongodb_database))  # type: ignore[call-arg]
    await store.enrol("contoso", "ann", None, datetime.now(UTC))
    await store.hint({"contoso/ann": [(Kind.EMAIL, "i")]})
    await store.audit("enrol", "contoso", "ann", "test", datetime.now(UTC))
    store.close()
    assert writes.concerns == {"majority"}
