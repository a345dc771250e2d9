"""CRM records of an archive, as upstream systems publish them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from shared.errors import Rejected
from shared.records import read_record

from .csv_files import Row, bad, read_csv, type_of

CHANGES = "changes.jsonl"
CUSTOM = "custom"
FORMS = (".jsonl", ".csv")


def load_records(path: Path | str, tenant: str) -> Iterator[dict[str, Any]]:
    """The records in a folder of JSON lines and CSV, a file a type, or in one such file; changes are not among them.

    Adds the tenant, and version 1 where no CSV column says another. A custom record's type becomes
    its entity; one without a type has its file's name. Raises BadRecords where a file cannot be read.
    """
    for row in _all_rows(Path(path)):
        yield _of(row, tenant)


def read_records(path: Path | str, tenant: str) -> list[dict[str, Any]]:
    """The same, all of them, once each is known to be one that the services take; else BadRecords, with the first that is not."""
    records = []
    for row in _all_rows(Path(path)):
        record = _of(row, tenant)
        try:
            read_record(orjson.dumps(record))
        except Rejected as rejected:
            raise row.bad(rejected.field, rejected.reason) from None
        records.append(record)
    return records


def _all_rows(path: Path) -> Iterator[Row]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    for file in files:
        if file.suffix == ".csv":
            yield from read_csv(file)
        elif file.suffix == ".jsonl" and file.name != CHANGES:
            yield from _lines(file)


def _of(row: Row, tenant: str) -> dict[str, Any]:
    version = row.record.get("version") if row.file.suffix == ".csv" else None
    return _record({"type": type_of(row.file)} | row.record, tenant, 1 if version is None else version)


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
    return (row.record for row in _lines(path))


def _lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                found = orjson.loads(line)
            except orjson.JSONDecodeError as wrong:
                raise bad(path, number, "", f"this is no JSON: {wrong}") from None
            if not isinstance(found, dict):
                raise bad(path, number, "", "this is no JSON object")
            yield Row(path, number, found)
