"""CRM records in CSV files: the columns, and their conversion to fields.

docs/own-archive.md is the specification for authors of such files.
"""

import csv
import difflib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from shared.records import ACCOUNT, CONTACT, LEAD, OPPORTUNITY, RECORD_MODELS


class RecordFileError(ValueError):
    """A file of records has an error; the message has the file, the line, the column and the reason."""


class CellType(StrEnum):
    """The type of a column's cells. An empty cell is null in every type."""

    TEXT = "text"
    NUMBER = "whole number"
    TIME = "time"
    LIST = "list"
    LOOKUP = "lookup"


@dataclass(frozen=True, slots=True)
class Column:
    """A column and the field of the record that it becomes.

    Attributes:
        types: the record types with this column; empty for every type.
        field_path: the path of the field; empty if the field has the name of the column.
    """

    name: str
    cell: CellType = CellType.TEXT
    types: tuple[str, ...] = ()
    field_path: tuple[str, ...] = ()

    @property
    def path(self) -> tuple[str, ...]:
        return self.field_path or (self.name,)

    def belongs_to(self, kind: str) -> bool:
        return not self.types or kind in self.types


COLUMNS = (
    Column("id"),
    Column("type"),
    Column("name"),
    Column("version", CellType.NUMBER),
    Column("modified_on", CellType.TIME),
    Column("readers", CellType.LIST),
    Column("emails", CellType.LIST),
    Column("primary_contact_id", types=(ACCOUNT,)),
    Column("parent_account_id", types=(CONTACT,)),
    Column("contact_name", types=(LEAD,), field_path=("contact", "name")),
    Column("contact_email", types=(LEAD,), field_path=("contact", "email")),
    Column("contact_id", types=(LEAD, OPPORTUNITY)),
    Column("stakeholder_ids", CellType.LIST, types=(OPPORTUNITY,)),
    Column("account_id", types=(OPPORTUNITY,)),
    Column("lead_id", types=(OPPORTUNITY,)),
)
LOOKUP_PREFIX = "lookups."
"""Prefix of the columns of a custom record that refer to an account or a contact."""

SEPARATOR = ";"
POSITIONAL_LISTS = ("emails",)
"""Lists in which an empty entry is null; in other lists an empty entry is omitted."""

BUILT_IN_FILE_NAMES = {
    f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s": kind for kind in RECORD_MODELS
}
"""accounts.csv has records of the type account. A custom type has the name of its file."""


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a file, not yet validated.

    Attributes:
        columns: field -> the column that it is from.
    """

    file: Path
    line: int
    record: dict[str, Any]
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def _lookups(self) -> list[str]:
        return [path for path in self.columns if path.startswith("lookups.")]

    def error(self, path: str, reason: str) -> RecordFileError:
        """The error of the field at this path, such as `emails.1`; `*` stands for the name of a lookup."""
        if fnmatch(path, "lookups.*.*") and len(self._lookups) == 1:
            path = self._lookups[0]
        parts = path.split(".")
        prefixes = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
        column = next((self.columns[prefix] for prefix in prefixes if prefix in self.columns), None)
        place = f"column {column}" if column else f"field {path}" if path else ""
        return file_error(self.file, self.line, place, reason)


def file_error(file: Path, line: int, place: str, reason: str) -> RecordFileError:
    """An error with the place in the file in its message."""
    places = [str(file), f"line {line}", *([place] if place else [])]
    return RecordFileError(f"{', '.join(places)}: {reason}")


def record_type_of(file: Path) -> str:
    """The type of the records without a type in a file."""
    return BUILT_IN_FILE_NAMES.get(file.stem, file.stem)


def read_csv(file: Path) -> Iterator[Row]:
    """The records of a CSV file.

    Raises:
        RecordFileError: the file is no CSV, or has columns that its records do not have.
    """
    lines = _read_lines(file)
    first, header = next(lines, (1, []))
    columns = _parse_header(file, first, header)
    for line, cells in lines:
        if len(cells) != len(columns):
            reason = f"there are {len(cells)} cells, and the header has {len(columns)}"
            raise file_error(file, line, "", reason)
        yield _parse_row(file, line, columns, [cell.strip() for cell in cells])


def _read_lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not empty, with the number of its first line."""
    raw = file.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise file_error(file, line, "", "this is not UTF-8; save the file as UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for cells in reader:
            if any(map(str.strip, cells)):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise file_error(file, line, "", f"this is not CSV: {error}") from None


def _parse_header(file: Path, line: int, header: Sequence[str]) -> list[Column]:
    """The columns in the header."""
    known = {column.name: column for column in COLUMNS}
    columns: list[Column] = []
    for name in map(str.strip, header):
        column = known.get(name)
        if name.startswith(LOOKUP_PREFIX):
            path = ("lookups", name.removeprefix(LOOKUP_PREFIX))
            column = Column(name, CellType.LOOKUP, field_path=path)
        if column is None:
            raise file_error(file, line, f"column {name}", _unknown_column(name, known))
        if column in columns:
            raise file_error(file, line, f"column {name}", "this column is there twice")
        columns.append(column)
    if known["id"] not in columns:
        raise file_error(
            file,
            line,
            "column id",
            "there is no such column; the first line has the names of the columns, and every file needs id",
        )
    return columns


def _unknown_column(name: str, known: Mapping[str, Column]) -> str:
    if SEPARATOR in name or "\t" in name:
        return "columns are separated by commas"
    similar = difflib.get_close_matches(name.lower(), known, 1)
    advice = f"is it {similar[0]}?" if similar else "delete it, or see docs/own-archive.md for all columns"
    return f"records have no such column; {advice}"


def _parse_row(file: Path, line: int, columns: Sequence[Column], cells: Sequence[str]) -> Row:
    record: dict[str, Any] = {}
    row = Row(file, line, record, {".".join(column.path): column.name for column in columns})
    named = zip(columns, cells, strict=True)
    types = [cell for column, cell in named if column.name == "type" and cell]
    kind = types[0] if types else record_type_of(file)
    for column, cell in zip(columns, cells, strict=True):
        if cell and not _has_column(kind, column):
            reason = f"a record of the type {kind} has no such field; it has {_column_names(kind)}"
            raise file_error(file, line, f"column {column.name}", reason)
        try:
            value = _parse_cell(column, cell) if cell else None
        except ValueError as error:
            raise file_error(file, line, f"column {column.name}", str(error)) from None
        if column.name == "id" and value is None:
            raise file_error(file, line, "column id", "every record needs one")
        *parents, last = column.path
        if parents and value is None:
            continue  # an empty Contact section or lookup
        target = record
        for name in parents:
            target = target.setdefault(name, {})
        target[last] = value
    record["type"] = kind
    return row


def _has_column(kind: str, column: Column) -> bool:
    return kind not in RECORD_MODELS if column.cell is CellType.LOOKUP else column.belongs_to(kind)


def _column_names(kind: str) -> str:
    if kind not in RECORD_MODELS:
        return f"{LOOKUP_PREFIX}FIELD"
    return ", ".join(column.name for column in COLUMNS if _has_column(kind, column))


def _parse_cell(column: Column, cell: str) -> Any:
    """The value of a cell that is not empty; ValueError with the expected form."""
    match column.cell:
        case CellType.NUMBER:
            return _parse_number(cell)
        case CellType.TIME:
            return _parse_time(cell)
        case CellType.LIST:
            entries = [entry.strip() or None for entry in cell.split(SEPARATOR)]
            return entries if column.name in POSITIONAL_LISTS else [entry for entry in entries if entry]
        case CellType.LOOKUP:
            kind, slash, id_ = cell.partition("/")
            if not slash or kind not in {ACCOUNT, CONTACT}:
                raise ValueError(f"a lookup is written {ACCOUNT}/ID or {CONTACT}/ID")
            return {"type": kind, "id": id_}
        case CellType.TEXT:
            return cell


def _parse_number(cell: str) -> int:
    try:
        return int(cell)
    except ValueError:
        raise ValueError("this is no whole number") from None


def _parse_time(cell: str) -> str:
    try:
        time = datetime.fromisoformat(cell)
    except ValueError:
        raise ValueError("this is no time such as 2026-11-20T09:12:00Z or 2026-11-20") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).isoformat()
