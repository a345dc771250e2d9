"""Records and changes in files, converted to the form in which upstream systems publish them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from shared.errors import InvalidMessageError
from shared.records import read_record

from .csv_files import Row, file_error, read_csv, record_type_of

CHANGES_FILE = "changes.jsonl"
CUSTOM = "custom"
FILE_FORMATS = (".jsonl", ".csv")


def load_records(path: Path | str, tenant: str) -> Iterator[dict[str, Any]]:
    """The records in a folder of JSON lines and CSV, one file for each type, or in one such file.

    Adds the tenant, and version 1 unless a CSV column has another. The type of a custom record is its
    entity; the type of a record without a type is the name of the file. The changes file is skipped.

    Raises:
        RecordFileError: a file cannot be read.
    """
    for row in _rows(Path(path)):
        yield _from_row(row, tenant)


def read_records(path: Path | str, tenant: str) -> list[dict[str, Any]]:
    """The same records, each checked with the schema of the services.

    Raises:
        RecordFileError: a file cannot be read, or a record is invalid; it has the first error.
    """
    records = []
    for row in _rows(Path(path)):
        record = _from_row(row, tenant)
        try:
            read_record(orjson.dumps(record))
        except InvalidMessageError as error:
            raise row.error(error.field, error.reason) from None
        records.append(record)
    return records


def load_changes(file: Path | str, tenant: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The changes in a file, in order: `upsert` with the record, `delete` with its type and id.

    A record's version is one more than the `seq` of the change. The type of a deleted custom record is its
    entity, from the change or from the records in the same folder.

    Raises:
        RecordFileError: the file cannot be read.
        ValueError: a change has another operation.
    """
    path = Path(file)
    entities: dict[str, str] | None = None
    for row in sorted(_json_objects(path), key=lambda row: int(row["seq"])):
        if row["op"] == "upsert":
            yield "upsert", _published_form(row["record"], tenant, 1 + int(row["seq"]))
        elif row["op"] == "delete":
            kind = row["type"]
            if kind == CUSTOM:
                if entities is None:
                    entities = _custom_entities(path.parent)
                kind = row.get("entity") or entities.get(row["id"], CUSTOM)
            yield "delete", {"tenant": tenant, "type": kind, "id": row["id"]}
        else:
            raise ValueError(f"change {row['seq']}: op is {row['op']!r}, not upsert or delete")


def _rows(path: Path) -> Iterator[Row]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    for file in files:
        if file.suffix == ".csv":
            yield from read_csv(file)
        elif file.suffix == ".jsonl" and file.name != CHANGES_FILE:
            yield from _json_rows(file)


def _from_row(row: Row, tenant: str) -> dict[str, Any]:
    version = row.record.get("version") if row.file.suffix == ".csv" else None
    record = {"type": record_type_of(row.file)} | row.record
    return _published_form(record, tenant, 1 if version is None else version)


def _published_form(row: dict[str, Any], tenant: str, version: int) -> dict[str, Any]:
    record = {"tenant": tenant, **row, "version": version}
    if record.get("type") == CUSTOM and record.get("entity"):
        record["type"] = record.pop("entity")
    return record


def _custom_entities(folder: Path) -> dict[str, str]:
    """Id of each custom record in the folder -> its entity."""
    entities = {}
    for path in sorted(folder.glob("*.jsonl")):
        for row in _json_objects(path):
            record = row.get("record", row)
            if record.get("type") == CUSTOM and record.get("entity"):
                entities[record["id"]] = record["entity"]
    return entities


def _json_objects(path: Path) -> Iterator[dict[str, Any]]:
    return (row.record for row in _json_rows(path))


def _json_rows(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise file_error(path, number, "", f"this is no JSON: {error}") from None
            if not isinstance(record, dict):
                raise file_error(path, number, "", "this is no JSON object")
            yield Row(path, number, record)
