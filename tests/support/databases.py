"""The databases of a test."""

from pymongo import MongoClient


def drop_databases(mongodb_uri: str, prefix: str) -> None:
    """Drop all databases whose names begin with a prefix."""
    with MongoClient[dict[str, object]](mongodb_uri) as client:
        for database in client.list_database_names():
            if database.startswith(prefix):
                client.drop_database(database)
