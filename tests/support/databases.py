"""The databases of a test."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from pymongo import MongoClient

from .query_plans import record_scans, recorded_scans


def drop_databases(mongodb_uri: str, prefix: str) -> None:
    """Drop all databases whose names begin with a prefix."""
    with MongoClient[dict[str, object]](mongodb_uri) as client:
        for database in client.list_database_names():
            if database.startswith(prefix):
                client.drop_database(database)


def delete_documents(mongodb_uri: str, name: str) -> None:
    """Empty a database; its collections and indexes stay, because MongoDB creates them slowly."""
    with MongoClient[dict[str, object]](mongodb_uri) as client:
        database = client[name]
        for collection in database.list_collection_names(filter={"name": {"$not": {"$regex": "^system"}}}):
            database[collection].delete_many({})


@contextmanager
def scanned_database(mongodb_uri: str, service: str) -> Iterator[str]:
    """The name of a database for many tests of one service; each of its operations must use an index."""
    name = f"test-{uuid4().hex[:12]}-{service}"
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        record_scans(client[name], service)
        yield name
        scans = recorded_scans(client[name])
    drop_databases(mongodb_uri, name)
    assert scans == [], f"these operations use no index: {scans}"
