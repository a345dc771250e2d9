"""Copies of a database, as mongodump makes them, put back in one moment or on an empty database."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeAlias

from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.database import Database

from .bus import Bus

Copy: TypeAlias = dict[str, list[dict[str, Any]]]
"""Name of a collection -> its documents."""
NO_COPY: Copy = {}
"""What is left of a lost database."""


@contextmanager
def _database(bus: Bus) -> Iterator[tuple[MongoClient[dict[str, Any]], Database[dict[str, Any]]]]:
    with MongoClient[dict[str, Any]](bus.environment["MONGODB_URI"], tz_aware=True) as client:
        yield client, client[bus.environment["TRACKING_MONGODB_DATABASE"]]


def _names(database: Database[dict[str, Any]]) -> list[str]:
    return database.list_collection_names(filter={"name": {"$not": {"$regex": "^system"}}})


def copy_database(bus: Bus) -> Copy:
    """All documents of tracking's database now."""
    with _database(bus) as (_, database):
        return {name: list(database[name].find()) for name in _names(database)}


def put_back(bus: Bus, copy: Copy) -> None:
    """Replaces the database by a copy, beneath whatever uses it: nobody sees half of each."""
    with _database(bus) as (client, database), client.start_session() as session:

        def replace_all(session: ClientSession) -> None:
            for name in names:
                database[name].delete_many({}, session=session)
                if documents := copy.get(name):
                    database[name].insert_many(documents, session=session)

        names = _names(database)
        session.with_transaction(replace_all)


def age(copy: Copy, by: timedelta) -> Copy:
    """The same copy, made so much earlier, as far as it knows."""
    [state] = copy["store_state"]
    return copy | {"store_state": [state | {"at": state["at"] - by}]}
