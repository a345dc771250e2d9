"""The collections of MongoDB as the stores see them; `mongodb.py` describes the layer."""

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pymongo
from pymongo import IndexModel, ReplaceOne, ReturnDocument, UpdateMany, UpdateOne

from .errors import RetryableError
from .mongodb_errors import translated_errors
from .store_wait import store_wait

Document: TypeAlias = dict[str, Any]
Session: TypeAlias = Any
"""A session of the driver; the stores only pass it on."""
Sort: TypeAlias = Sequence[tuple[str, int]]

PAGE_DOCUMENTS = 1000
DRIVER_PART = 0.9
"""The part of a bounded wait after which the driver gives up, and frees its thread and its connection."""


async def resolved(result: Any) -> Any:
    """Awaits what one driver returns as an awaitable and the other as a value.

    `aggregate`, `watch`, `start_session`, `start_transaction` and `close` differ in this way.
    """
    return await result if inspect.isawaitable(result) else result


@contextlib.asynccontextmanager
async def operation() -> AsyncIterator[None]:
    """Translates the driver's errors, and bounds the wait for MongoDB where `store_wait` does."""
    wait = store_wait()
    with translated_errors():
        if wait is None:
            yield
            return
        try:
            async with asyncio.timeout(wait.total_seconds()):
                with pymongo.timeout(wait.total_seconds() * DRIVER_PART):
                    yield
        except TimeoutError:
            raise RetryableError("MongoDB does not answer in time") from None


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
            async with operation():
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
        async with operation():
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
        # Without a size the second batch has 16 MB, and its decoding holds up the whole process.
        with translated_errors():
            cursor = self._collection.find(
                query, projection, sort=sort, hint=hint, limit=limit, batch_size=PAGE_DOCUMENTS
            )
        async for page in _pages(cursor, PAGE_DOCUMENTS):
            for document in page:
                yield document

    async def aggregate(self, pipeline: Sequence[Document]) -> AsyncIterator[Document]:
        """The results of an aggregation."""
        async for page in self.aggregate_pages(pipeline, PAGE_DOCUMENTS):
            for document in page:
                yield document

    async def aggregate_pages(self, pipeline: Sequence[Document], size: int) -> AsyncIterator[list[Document]]:
        """The results of an aggregation in lists of at most `size`."""
        async with operation():
            cursor = await resolved(self._collection.aggregate(list(pipeline)))
        async for page in _pages(cursor, size):
            yield page

    async def count(self, query: Mapping[str, Any]) -> int:
        """How many documents match."""
        async with operation():
            return int(await self._collection.count_documents(query))

    async def insert_one(self, document: Document, *, session: Session | None = None) -> None:
        """Inserts a document; raises DuplicateDocumentError."""
        async with operation():
            await self._collection.insert_one(document, session=session)

    async def insert_many(self, documents: Sequence[Document]) -> None:
        """Inserts documents without an order; raises WriteRefusedError when some are refused."""
        if documents:
            async with operation():
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
        async with operation():
            return _to_result(
                await self._collection.update_one(query, update, upsert=upsert, session=session)
            )

    async def update_many(
        self, query: Mapping[str, Any], update: Mapping[str, Any] | Sequence[Document]
    ) -> WriteResult:
        """Updates all documents that match."""
        async with operation():
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
        async with operation():
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
        async with operation():
            updated: Document | None = await self._collection.find_one_and_update(
                query, update, sort=sort, upsert=upsert, return_document=ReturnDocument.AFTER
            )
            return updated

    async def delete_many(self, query: Mapping[str, Any]) -> int:
        """Deletes all documents that match, and returns how many."""
        async with operation():
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
        async with operation():
            result = await self._collection.bulk_write(list(writes), ordered=ordered)
            return WriteResult(result.matched_count, result.modified_count, result.upserted_count)


async def _pages(cursor: Any, size: int) -> AsyncIterator[list[Document]]:
    while True:
        async with operation():
            page: list[Document] = await cursor.to_list(size)
        if not page:
            return
        yield page


def _to_result(result: Any) -> WriteResult:
    return WriteResult(result.matched_count, result.modified_count, int(result.upserted_id is not None))
