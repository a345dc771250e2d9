"""The connection to MongoDB, and what its errors are called here."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from functools import wraps
from typing import Any, ParamSpec, TypeAlias, TypeVar

from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorClientSession, AsyncIOMotorCollection
from pymongo import ASCENDING, IndexModel
from pymongo.errors import BulkWriteError, ConnectionFailure, ExecutionTimeout, PyMongoError, WTimeoutError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from shared.errors import Transient
from shared.settings import MongoSettings

P = ParamSpec("P")
R = TypeVar("R")
Document: TypeAlias = dict[str, Any]
Collection: TypeAlias = AsyncIOMotorCollection[Document]
Session: TypeAlias = AsyncIOMotorClientSession

AWAY_AFTER = timedelta(seconds=1.5)
"""No primary for this long is `Transient`: an API answer must not wait longer."""
HUNG_AFTER = timedelta(seconds=20)
"""An answer that takes longer will not come; a batch's write takes a second."""
ONCE_GONE = IndexModel([("delete_at", ASCENDING)], expireAfterSeconds=0)
"""What has `delete_at` deletes itself."""


class WriteRefused(Exception):
    """MongoDB takes some writes never; it holds error codes alone, since the driver's own error holds the documents."""


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """MongoDB's errors as ours: what will pass is `Transient`; the rest stays what it is, without what was to be written."""
    try:
        yield
    except (ConnectionFailure, ExecutionTimeout, WTimeoutError) as away:
        raise Transient(f"MongoDB does not answer: {type(away).__name__}") from away
    except BulkWriteError as error:
        if refused := error.details.get("writeErrors"):
            raise WriteRefused(sorted({each["code"] for each in refused})) from None
        raise Transient("MongoDB's majority has not confirmed") from error
    except PyMongoError as error:
        if error.has_error_label("TransientTransactionError") or error.has_error_label("RetryableWriteError"):
            raise Transient(f"MongoDB asks to try again: {type(error).__name__}") from error
        raise


def asks_mongodb(method: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """A method whose MongoDB errors are translated."""

    @wraps(method)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with translated():
            return await method(*args, **kwargs)

    return call


class Connection:
    """The client of one database: majority writes, and reads of nothing that a failover could take back."""

    def __init__(self, settings: MongoSettings, database: str) -> None:
        self._safe = WriteConcern(w="majority", wtimeout=milliseconds(HUNG_AFTER) // 2)
        self._client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
            settings.mongodb_uri.get_secret_value(),
            tz_aware=True,
            serverSelectionTimeoutMS=milliseconds(AWAY_AFTER),
            connectTimeoutMS=milliseconds(AWAY_AFTER),
            socketTimeoutMS=milliseconds(HUNG_AFTER),
            appname="tracking",
        )
        self._database = self._client.get_database(
            database, write_concern=self._safe, read_concern=ReadConcern("majority")
        )

    def collection(self, name: str) -> Collection:
        """One of the database's collections."""
        return self._database.get_collection(name)

    @asks_mongodb
    async def ping(self) -> None:
        """Raises Transient where MongoDB has no primary."""
        await self._client.admin.command("ping")

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """All or nothing; Transient where another one was in the way."""
        with translated():
            # Of itself a transaction takes the client's concerns, which are the URI's, and not the database's.
            concerns: dict[str, Any] = {"read_concern": ReadConcern("snapshot"), "write_concern": self._safe}
            async with await self._client.start_session() as session, session.start_transaction(**concerns):
                yield session

    def close(self) -> None:
        """Hangs up."""
        self._client.close()


def joined(parts: Sequence[str]) -> str:
    """The parts of a key as one id."""
    return "/".join(parts)


def replaced(document: Document, condition: Document) -> list[Document]:
    """An update: the document in place of the one there, if the condition holds of that one.

    A field that is missing is less than any value, so that what is not there yet is replaced.
    """
    return [{"$replaceWith": {"$cond": [condition, {"$literal": document}, "$$ROOT"]}}]


def milliseconds(time: timedelta) -> int:
    """As MongoDB counts time."""
    return time // timedelta(milliseconds=1)
