"""The one MongoDB layer: driver, concerns, time-outs, errors. Only the stores of services import it.

Every write is acknowledged by the majority and every read is of majority-committed data, so that a
failover takes back neither. Errors leave this module as

| error | meaning |
|---|---|
| `RetryableError` | MongoDB does not answer, has no primary, or its majority has not acknowledged |
| `DuplicateDocumentError` | a unique index refuses the document of a single write |
| `WriteRefusedError` | MongoDB never accepts some writes of a bulk write |
| any other driver error | fatal: a query or an update that MongoDB does not understand |

The driver is motor or PyMongo's own asynchronous API (`DRIVER`); the store tests run on both. motor's
fixes end in May 2027 (docs/decisions).
"""

import contextlib
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeAlias

from pymongo import ASCENDING, DESCENDING, IndexModel, ReplaceOne, ReturnDocument, UpdateMany, UpdateOne
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    PyMongoError,
    WriteConcernError,
)
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from .clock import to_milliseconds
from .errors import RetryableError
from .settings import MongoSettings

__all__ = [
    "ASCENDING",
    "DESCENDING",
    "ChangeStream",
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

Document: TypeAlias = dict[str, Any]
Session: TypeAlias = Any
"""A session of the driver; the stores only pass it on."""
Sort: TypeAlias = Sequence[tuple[str, int]]

SERVER_SELECTION_TIMEOUT = timedelta(seconds=1.5)
"""Without a primary for this time an operation raises RetryableError: an API answer must not wait longer."""
SOCKET_TIMEOUT = timedelta(seconds=20)
"""An answer that takes longer is given up; the write of a large batch takes a second."""
MAJORITY_TIMEOUT = SOCKET_TIMEOUT / 2
DUPLICATE_KEY = 11000
"""MongoDB's error code of a unique index."""


class DuplicateDocumentError(Exception):
    """A unique index refuses a document; the caller decides what that means."""


class WriteRefusedError(Exception):
    """MongoDB never accepts these writes. Fatal unless the caller expects it.

    It holds error codes alone: the driver's own error holds the documents.

    Attributes:
        codes: MongoDB's error codes.
    """

    def __init__(self, codes: Sequence[int]) -> None:
        super().__init__(f"MongoDB refuses writes, codes {list(codes)}")
        self.codes = tuple(codes)

    @property
    def only_duplicates(self) -> bool:
        """True when unique indexes are the only reason."""
        return set(self.codes) == {DUPLICATE_KEY}


@contextlib.contextmanager
def translated_errors() -> Iterator[None]:
    """Translates the driver's errors; others pass unchanged."""
    try:
        yield
    except DuplicateKeyError:
        raise DuplicateDocumentError("a unique index refuses the document") from None
    except BulkWriteError as error:
        if write_errors := error.details.get("writeErrors"):
            raise WriteRefusedError(sorted({each["code"] for each in write_errors})) from None
        raise RetryableError("MongoDB's majority has not acknowledged") from error
    except PyMongoError as error:
        if is_retryable(error):
            raise RetryableError(f"MongoDB does not answer: {type(error).__name__}") from error
        raise


def is_retryable(error: PyMongoError) -> bool:
    """True when the same operation succeeds later without a change."""
    labelled = error.has_error_label("TransientTransactionError") or error.has_error_label(
        "RetryableWriteError"
    )
    unavailable = isinstance(error, ConnectionFailure | ExecutionTimeout | WriteConcernError)
    return labelled or unavailable or error.timeout


# -- the driver -----------------------------------------------------------------------------------


def _create_client(driver: Driver, uri: str, **options: Any) -> Any:
    if driver == "motor":
        from motor.motor_asyncio import AsyncIOMotorClient

        return AsyncIOMotorClient(uri, **options)
    from pymongo import AsyncMongoClient

    return AsyncMongoClient(uri, **options)


async def _resolved(result: Any) -> Any:
    """Awaits what one driver returns as an awaitable and the other as a value.

    `aggregate`, `watch`, `start_session`, `start_transaction` and `close` differ in this way.
    """
    return await result if inspect.isawaitable(result) else result


# -- collections ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WriteResult:
    """Counts of a write."""

    matched: int
    modified: int
    upserted: int

    @property
    def written(self) -> int:
        """Documents that were changed or inserted."""
        return self.modified + self.upserted


class MongoCollection:
    """A collection; all its methods raise the errors of this module."""

    def __init__(self, collection: Any) -> None:
        self._collection = collection

    async def create_indexes(self, indexes: Sequence[IndexModel]) -> None:
        """Creates the indexes that are missing."""
        if indexes:
            with translated_errors():
                await self._collection.create_indexes(list(indexes))

    async def find_one(
        self,
        query: Mapping[str, Any],
        projection: Mapping[str, Any] | None = None,
        *,
        sort: Sort | None = None,
        session: Session | None = None,
    ) -> Document | None:
        """The first document that matches, or None."""
        with translated_errors():
            found: Document | None = await self._collection.find_one(
                query, projection, sort=sort, session=session
            )
            return found

    async def find(
        self,
        query: Mapping[str, Any],
        projection: Mapping[str, Any] | None = None,
        *,
        sort: Sort | None = None,
        hint: Sort | None = None,
        limit: int = 0,
    ) -> AsyncIterator[Document]:
        """All documents that match; a limit of 0 means no limit."""
        with translated_errors():
            # Without a size the second batch has 16 MB, and its decoding holds up the whole process.
            cursor = self._collection.find(
                query, projection, sort=sort, hint=hint, limit=limit, batch_size=PAGE_DOCUMENTS
            )
            async for document in cursor:
                yield document

    async def aggregate(self, pipeline: Sequence[Document]) -> AsyncIterator[Document]:
        """The results of an aggregation."""
        async for page in self.aggregate_pages(pipeline, PAGE_DOCUMENTS):
            for document in page:
                yield document

    async def aggregate_pages(self, pipeline: Sequence[Document], size: int) -> AsyncIterator[list[Document]]:
        """The results of an aggregation in lists of at most `size`."""
        with translated_errors():
            cursor = await _resolved(self._collection.aggregate(list(pipeline)))
            while page := await cursor.to_list(size):
                yield page

    async def count(self, query: Mapping[str, Any]) -> int:
        """How many documents match."""
        with translated_errors():
            return int(await self._collection.count_documents(query))

    async def insert_one(self, document: Document, *, session: Session | None = None) -> None:
        """Inserts a document; raises DuplicateDocumentError."""
        with translated_errors():
            await self._collection.insert_one(document, session=session)

    async def insert_many(self, documents: Sequence[Document]) -> None:
        """Inserts documents without an order; raises WriteRefusedError when some are refused."""
        if documents:
            with translated_errors():
                await self._collection.insert_many(list(documents), ordered=False)

    async def update_one(
        self,
        query: Mapping[str, Any],
        update: Mapping[str, Any] | Sequence[Document],
        *,
        upsert: bool = False,
        session: Session | None = None,
    ) -> WriteResult:
        """Updates the first document that matches."""
        with translated_errors():
            return _to_result(
                await self._collection.update_one(query, update, upsert=upsert, session=session)
            )

    async def update_many(
        self, query: Mapping[str, Any], update: Mapping[str, Any] | Sequence[Document]
    ) -> WriteResult:
        """Updates all documents that match."""
        with translated_errors():
            return _to_result(await self._collection.update_many(query, update))

    async def replace_one(
        self,
        query: Mapping[str, Any],
        document: Document,
        *,
        upsert: bool = False,
        session: Session | None = None,
    ) -> WriteResult:
        """Replaces the first document that matches."""
        with translated_errors():
            return _to_result(
                await self._collection.replace_one(query, document, upsert=upsert, session=session)
            )

    async def find_one_and_update(
        self,
        query: Mapping[str, Any],
        update: Mapping[str, Any] | Sequence[Document],
        *,
        sort: Sort | None = None,
        upsert: bool = False,
    ) -> Document | None:
        """Updates the first document that matches, and returns it as it is afterwards."""
        with translated_errors():
            updated: Document | None = await self._collection.find_one_and_update(
                query, update, sort=sort, upsert=upsert, return_document=ReturnDocument.AFTER
            )
            return updated

    async def delete_many(self, query: Mapping[str, Any]) -> int:
        """Deletes all documents that match, and returns how many."""
        with translated_errors():
            return int((await self._collection.delete_many(query)).deleted_count)

    async def bulk_write(
        self, writes: Sequence[UpdateOne | UpdateMany | ReplaceOne[Document]], *, ordered: bool = False
    ) -> WriteResult:
        """Applies many writes in one call; none for an empty list.

        Raises:
            WriteRefusedError: some writes are refused; in an unordered call the others were applied.
        """
        if not writes:
            return WriteResult(0, 0, 0)
        with translated_errors():
            result = await self._collection.bulk_write(list(writes), ordered=ordered)
            return WriteResult(result.matched_count, result.modified_count, result.upserted_count)


PAGE_DOCUMENTS = 1000


def _to_result(result: Any) -> WriteResult:
    return WriteResult(result.matched_count, result.modified_count, int(result.upserted_id is not None))


# -- databases ------------------------------------------------------------------------------------


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
            name, write_concern=self._majority, read_concern=ReadConcern("majority")
        )

    def collection(self, name: str) -> MongoCollection:
        """One of the database's collections."""
        return MongoCollection(self._database.get_collection(name))

    async def ping(self) -> None:
        """Raises RetryableError when MongoDB has no primary."""
        with translated_errors():
            await self._client.admin.command("ping")

    async def close(self) -> None:
        """Closes the connections."""
        await _resolved(self._client.close())

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """A transaction: all of its writes or none; RetryableError when another one conflicts."""
        with translated_errors():
            # By default a transaction uses the client's concerns (the URI's), not the database's.
            concerns: dict[str, Any] = {
                "read_concern": ReadConcern("snapshot"),
                "write_concern": self._majority,
            }
            async with (
                await _resolved(self._client.start_session()) as session,
                await _resolved(session.start_transaction(**concerns)),
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
            async with await _resolved(opening) as stream:
                yield None
                while stream.alive:
                    event = await stream.try_next()
                    self.resume_token = stream.resume_token
                    yield event
        except ConnectionFailure as error:
            raise RetryableError(f"MongoDB does not answer: {type(error).__name__}") from error
        except PyMongoError as error:
            self.resume_token = None  # too old, or of another cluster
            raise RetryableError(
                f"MongoDB's changes cannot be read from there: {type(error).__name__}"
            ) from error
        self.resume_token = None
        raise RetryableError("MongoDB has closed the stream of changes")
