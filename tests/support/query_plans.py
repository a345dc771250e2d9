"""Finds the operations of a service that read a whole collection of MongoDB."""

from typing import Any

from pymongo.database import Database


def record_scans(database: Database[dict[str, Any]], app: str) -> None:
    """Has MongoDB record the operations of an application that use no index, from now on."""
    database.command("profile", 1, filter={"planSummary": {"$regex": "COLLSCAN"}, "appName": app})


def recorded_scans(database: Database[dict[str, Any]]) -> list[str]:
    """The recorded operations, each as its collection and its command; the recording ends."""
    database.command("profile", 0)
    found = database["system.profile"].find()
    return [f"{each['ns']}: {str(each.get('command'))[:500]}" for each in found]
