"""Copies of the services' databases: taken while all runs, and put back later."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo import IndexModel, MongoClient


@dataclass(frozen=True)
class DatabaseCopy:
    """A database as it was at one moment."""

    at: datetime
    documents: Mapping[str, list[RawBSONDocument]]
    indexes: Mapping[str, list[IndexModel]]


class Databases:
    """The databases of a system's services.

    Args:
        uri: of MongoDB.
        prefix: of their names.
    """

    def __init__(self, uri: str, prefix: str) -> None:
        self._uri = uri
        self._prefix = prefix

    def copy(self, name: str) -> DatabaseCopy:
        """Copy a database as it is at one moment, while its service writes to it."""
        with self._raw_client() as client, client.start_session(snapshot=True) as session:
            at, database = datetime.now(UTC), client[f"{self._prefix}{name}"]
            names = sorted(database.list_collection_names())
            documents = {each: list(database[each].find(session=session)) for each in names}
            indexes = {each: _indexes(list(database[each].list_indexes())) for each in names}
        return DatabaseCopy(at, documents, indexes)

    def put_back(self, name: str, copy: DatabaseCopy | None) -> None:
        """Replace a database by a copy of it; None: lose it. Nobody may write to it meanwhile."""
        with self._raw_client() as client:
            client.drop_database(f"{self._prefix}{name}")
            database = client[f"{self._prefix}{name}"]
            for each, documents in copy.documents.items() if copy else ():
                if copy and copy.indexes[each]:
                    database[each].create_indexes(copy.indexes[each])
                if documents:
                    database[each].insert_many(documents)

    def failed_tracks(self, name: str) -> dict[tuple[str, str], set[str]]:
        """(mailbox, item) -> the reasons of its failed track requests."""
        failed: dict[tuple[str, str], set[str]] = {}
        with MongoClient[dict[str, Any]](self._uri) as client:
            for request in client[f"{self._prefix}{name}"].track_requests.find({"state": "failed"}):
                _, mailbox, item = request["item"].split("/", 2)
                failed.setdefault((mailbox, item), set()).add(str(request.get("reason")))
        return failed

    def _raw_client(self) -> MongoClient[RawBSONDocument]:
        """A client to which documents stay as they are stored."""
        return MongoClient(self._uri, document_class=RawBSONDocument)


def _indexes(described: list[Any]) -> list[IndexModel]:
    """The indexes of a collection, but for that of `_id`, which every collection has."""
    return [
        IndexModel(list(each["key"].items()), **{k: v for k, v in each.items() if k not in {"key", "v"}})
        for each in described
        if each["name"] != "_id_"
    ]
