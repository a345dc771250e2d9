"""The databases of a test."""

from pymongo import MongoClient


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
