"""CRM records of an archive, as upstream systems publish them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

CHANGES = "changes.jsonl"
CUSTOM = "custom"


def load_records(folder: Path | str, tenant: str) -> Iterator[dict[str, Any]]:
    """The records in a folder of JSON lines, a file a type; changes are not among them.

    Adds the tenant and version 1. A custom record's type becomes its entity.
    """
    for path in sorted(Path(folder).glob("*.jsonl")):
        if path.name != CHANGES:
            for row in _rows(path):
                yield _record(row, tenant, 1)


def load_changes(file: Path | str, tenant: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The changes in a file, in order: `upsert` with the record, `delete` with its type and id.

    A record's version is one more than the change's `seq`. The type of a custom record that is
    deleted is its entity, known from the change itself or from the records beside the file.
    """
    path = Path(file)
    entities: dict[str, str] | None = None
    for row in sorted(_rows(path), key=lambda row: int(row["seq"])):
        if row["op"] == "upsert":
            yield "upsert", _record(row["record"], tenant, 1 + int(row["seq"]))
        elif row["op"] == "delete":
            kind = row["type"]
            if kind == CUSTOM:
                if entities is None:
                    entities = _entities(path.parent)
                kind = row.get("entity") or entities.get(row["id"], CUSTOM)
            yield "delete", {"tenant": tenant, "type": kind, "id": row["id"]}
        else:
            raise ValueError(f"change {row['seq']}: op is {row['op']!r}, not upsert or delete")


def _record(row: dict[str, Any], tenant: str, version: int) -> dict[str, Any]:
    made = {"tenant": tenant, **row, "version": version}
    if made.get("type") == CUSTOM and made.get("entity"):
        made["type"] = made.pop("entity")
    return made


def _entities(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.glob("*.jsonl")):
        for row in _rows(path):
            record = row.get("record", row)
            if record.get("type") == CUSTOM and record.get("entity"):
                found[record["id"]] = record["entity"]
    return found


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                yield orjson.loads(line)
