"""Copies of databases: what is put back is what there was, with its indexes."""

from typing import Any

from pymongo import MongoClient

from scenarios.chaos.whole.databases import Databases


def test_database_is_put_back_as_it_was_copied(mongodb_uri: str, mongodb_database: str) -> None:
    with MongoClient[dict[str, Any]](mongodb_uri, tz_aware=True) as client:
        things = client[mongodb_database].things
        things.create_index([("name", 1)], name="by name", unique=True)
        things.insert_many([{"_id": 1, "name": "a", "more": {"b": [1, None]}}, {"_id": 2, "name": "b"}])
        before, indexes = list(things.find()), things.index_information()
        databases = Databases(mongodb_uri, mongodb_database.removesuffix("store"))
        copy = databases.copy("store")
        things.delete_one({"_id": 1})
        client[mongodb_database].others.insert_one({"_id": 3})

        databases.put_back("store", copy)
        assert client[mongodb_database].list_collection_names() == ["things"]
        assert (list(things.find()), things.index_information()) == (before, indexes)

        databases.put_back("store", None)
        assert client[mongodb_database].list_collection_names() == []
