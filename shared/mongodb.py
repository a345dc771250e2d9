"""The one MongoDB layer: driver, concerns, time-outs, errors. Only the stores of services import it.

Every write is acknowledged by the majority, and every read is of what the majority has, from the primary,
whatever the URI has: a failover takes neither back. `mongodb_errors.py` has the classes of errors, and
`mongodb_collection.py` the operations.

The driver is motor or PyMongo's own asynchronous API (`DRIVER`); the store tests run on both. motor's
fixes end in May 2027 (docs/decisions).
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, TypeAlias

from pymongo import (
    ASCENDING,
    DESCENDING,
    IndexModel,
    ReadPreference,
    ReplaceOne,
    ReturnDocument,
    UpdateMany,
    UpdateOne,
)
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from .clock import to_milliseconds
from .errors import RetryableError
from .mongodb_collection import Document, MongoCollection, Session, WriteResult, operation, resolved
from .mongodb_errors import (
    LOST_POSITIONS,
    DatabaseFaultError,
    DuplicateDocumentError,
    ErrorClass,
    WriteRefusedError,
    classify,
    code_of,
    translated_errors,
)
from .settings import MongoSettings
from .store_wait import bounded_store_wait

__all__ = [
    "ASCENDING",
    "DESCENDING",
    "ChangeStream",
    "DatabaseFaultError",
    "Document",
    "DuplicateDocumentError",
    "IndexModel",
    "MongoCollection",
    "MongoDatabase",
    "ReplaceOne",
    "ReturnDocument",
    "Session",
    "UpdateMany",
    "UpdateOne",
    "WriteRefusedError",
    "WriteResult",
]

Driver: TypeAlias = Literal["motor", "pymongo"]
DRIVER: Driver = "motor"
"""The driver of the services."""

SERVER_SELECTION_TIMEOUT = timedelta(seconds=1.5)
"""Without a primary for this time an operation raises RetryableError."""
SOCKET_TIMEOUT = timedelta(seconds=12)
"""An answer that takes longer is given up; the write of a large batch takes a second.

The others elect a new primary when one has hung for 10 s: the driver's repetition then finds it.
"""
MAJORITY_TIMEOUT = timedelta(seconds=10)


def _create_client(driver: Driver, uri: str, **options: Any) -> Any:
    if driver == "motor":
        from motor.motor_asyncio import AsyncIOMotorClient

        return AsyncIOMotorClient(uri, **options)
    from pymongo import AsyncMongoClient

    return AsyncMongoClient(uri, **options)


class MongoDatabase:
    """The database of one service.

    Args:
        settings: the address.
        name: of the database.
        app_name: shown in MongoDB's logs.
        driver: see `DRIVER`.
    """

    def __init__(self, settings: MongoSettings, name: str, app_name: str, driver: Driver = DRIVER) -> None:
        self._majority = WriteConcern(w="majority", wtimeout=to_milliseconds(MAJORITY_TIMEOUT))
        self._client = _create_client(
            driver,
            settings.mongodb_uri.get_secret_value(),
            tz_aware=True,
            serverSelectionTimeoutMS=to_milliseconds(SERVER_SELECTION_TIMEOUT),
            connectTimeoutMS=to_milliseconds(SERVER_SELECTION_TIMEOUT),
            socketTimeoutMS=to_milliseconds(SOCKET_TIMEOUT),
            appname=app_name,
        )
        self._database = self._client.get_database(
            name,
            read_preference=ReadPreference.PRIMARY,
            write_concern=self._majority,
            read_concern=ReadConcern("majority"),
        )

    def collection(self, name: str) -> MongoCollection:
        """One of the database's collections."""
        return MongoCollection(self._database.get_collection(name))

    async def ping(self) -> None:
        """Raises RetryableError when MongoDB has no primary, or does not answer within `REQUEST_WAIT`."""
        with bounded_store_wait():
            async with operation():
                await self._client.admin.command("ping")

    async def close(self) -> None:
        """Closes the connections."""
        await resolved(self._client.close())

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """A transaction: all of its writes or none; RetryableError when another one conflicts."""
        with translated_errors():
            # By default a transaction uses the client's options (the URI's), not the database's.
            options: dict[str, Any] = {
                "read_concern": ReadConcern("snapshot"),
                "write_concern": self._majority,
                "read_preference": ReadPreference.PRIMARY,
            }
            async with (
                await resolved(self._client.start_session()) as session,
                await resolved(session.start_transaction(**options)),
            ):
                yield session

    def watch(self, pipeline: Sequence[Document], max_wait: timedelta) -> "ChangeStream":
        """The changes of this database.

        Args:
            pipeline: selects and shapes the events.
            max_wait: MongoDB answers after this time when nothing changed.
        """
        return ChangeStream(self._database, pipeline, max_wait)


class ChangeStream:
    """Reads the changes of a database, from where the last reading ended.

    Attributes:
        resume_token: None: the next reading begins with what changes from then on.
    """

    def __init__(self, database: Any, pipeline: Sequence[Document], max_wait: timedelta) -> None:
        self._database = database
        self._pipeline = list(pipeline)
        self._max_wait = max_wait
        self.resume_token: Mapping[str, Any] | None = None

    async def events(self) -> AsyncGenerator[Document | None, None]:
        """Events as they come; None once at the begin, and whenever `max_wait` passed without one.

        Raises:
            RetryableError: MongoDB is unavailable: the next reading goes on without a gap. When the stream
                cannot go on from there, `resume_token` is None afterwards.
        """
        try:
            opening = self._database.watch(
                self._pipeline,
                resume_after=self.resume_token,
                max_await_time_ms=to_milliseconds(self._max_wait),
            )
            async with await resolved(opening) as stream:
                yield None
                while stream.alive:
                    event = await stream.try_next()
                    self.resume_token = stream.resume_token
                    yield event
        except PyMongoError as error:
            if self.resume_token and not _keeps_position(error):
                self.resume_token = None  # too old, or of another cluster
                raise RetryableError(
                    f"MongoDB's changes cannot be read from there: {type(error).__name__}"
                ) from None
            with translated_errors():
                raise
        self.resume_token = None
        raise RetryableError("MongoDB has closed the stream of changes")


def _keeps_position(error: PyMongoError) -> bool:
    return classify(error) is ErrorClass.RETRYABLE and code_of(error) not in LOST_POSITIONS
