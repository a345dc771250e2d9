"""CRM records in CSV files, as people export them: the columns, and how each becomes a field.

docs/own-archive.md explains the columns to their writers.
"""

import csv
import difflib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from shared.records import ACCOUNT, CONTACT, LEAD, MODELS, OPPORTUNITY


class BadRecords(ValueError):
    """A file of records that cannot be taken; the message says which, in which line, and why."""


class Cell(StrEnum):
    """How a cell is read. An empty one is always null."""

    TEXT = "text"
    NUMBER = "whole number"
    TIME = "time"
    LIST = "list"
    LOOKUP = "lookup"


@dataclass(frozen=True, slots=True)
class Column:
    """A column and the field of the record that it becomes.

    Attributes:
        of: the record types that have it; none: every type.
        into: the field, if it is not called like the column.
    """

    name: str
    cell: Cell = Cell.TEXT
    of: tuple[str, ...] = ()
    into: tuple[str, ...] = ()

    @property
    def path(self) -> tuple[str, ...]:
        return self.into or (self.name,)

    def is_of(self, kind: str) -> bool:
        return not self.of or kind in self.of


COLUMNS = (
    Column("id"),
    Column("type"),
    Column("name"),
    Column("version", Cell.NUMBER),
    Column("modified_on", Cell.TIME),
    Column("readers", Cell.LIST),
    Column("emails", Cell.LIST),
    Column("primary_contact_id", of=(ACCOUNT,)),
    Column("parent_account_id", of=(CONTACT,)),
    Column("contact_name", of=(LEAD,), into=("contact", "name")),
    Column("contact_email", of=(LEAD,), into=("contact", "email")),
    Column("contact_id", of=(LEAD, OPPORTUNITY)),
    Column("stakeholder_ids", Cell.LIST, of=(OPPORTUNITY,)),
    Column("account_id", of=(OPPORTUNITY,)),
    Column("lead_id", of=(OPPORTUNITY,)),
)
LOOKUPS = "lookups."
"""Begins the name of a custom record's column that points at an account or a contact."""

SEPARATOR = ";"
PLACES_COUNT = ("emails",)
"""Lists in which an empty place is null; in others it is nothing."""

NAMED_IN_PLURAL = {f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s": kind for kind in MODELS}
"""accounts.csv is a file of the type account. A custom type is called as its file is."""


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a file, before anybody has looked whether it is a good one.

    Attributes:
        columns: field -> the column that it came from.
    """

    file: Path
    line: int
    record: dict[str, Any]
    columns: Mapping[str, str] = field(default_factory=dict)

    def bad(self, path: str, why: str) -> BadRecords:
        """What to raise where the field at this path (such as `emails.1`) is wrong."""
        parts = path.split(".")
        column = next(
            (
                self.columns[name]
                for n in range(len(parts), 0, -1)
                if (name := ".".join(parts[:n])) in self.columns
            ),
            None,
        )
        return bad(
            self.file, self.line, f"column {column}" if column else f"field {path}" if path else "", why
        )


def bad(file: Path, line: int, place: str, why: str) -> BadRecords:
    return BadRecords(": ".join((", ".join(filter(None, (str(file), f"line {line}", place))), why)))


def type_of(file: Path) -> str:
    """The type of a file's records, where they do not say it themselves."""
    return NAMED_IN_PLURAL.get(file.stem, file.stem)


def read_csv(file: Path) -> Iterator[Row]:
    """The records of a CSV file; BadRecords where it is none, or has columns that records have not."""
    lines = _lines(file)
    first, header = next(lines, (1, []))
    columns = _columns(file, first, header)
    for line, cells in lines:
        if len(cells) != len(columns):
            raise bad(file, line, "", f"there are {len(cells)} cells, and the header has {len(columns)}")
        yield _row(file, line, columns, [cell.strip() for cell in cells])


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not empty, with the number of the line that it begins in."""
    raw = file.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as odd:
        raise bad(
            file, raw.count(b"\n", 0, odd.start) + 1, "", "this is not UTF-8; save the file as UTF-8"
        ) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for cells in reader:
            if any(map(str.strip, cells)):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as wrong:
        raise bad(file, line, "", f"this is not CSV: {wrong}") from None


def _columns(file: Path, line: int, header: Sequence[str]) -> list[Column]:
    """The columns that the header names."""
    known = {column.name: column for column in COLUMNS}
    found: list[Column] = []
    for name in map(str.strip, header):
        column = (
            Column(name, Cell.LOOKUP, into=("lookups", name.removeprefix(LOOKUPS)))
            if name.startswith(LOOKUPS)
            else known.get(name)
        )
        if column is None:
            raise bad(file, line, f"column {name}", _unknown(name, known))
        if column in found:
            raise bad(file, line, f"column {name}", "this column is there twice")
        found.append(column)
    if known["id"] not in found:
        raise bad(
            file,
            line,
            "column id",
            "there is no such column; the first line names the columns, and id is one that every file needs",
        )
    return found


def _unknown(name: str, known: Mapping[str, Column]) -> str:
    if SEPARATOR in name or "\t" in name:
        return "columns are separated by commas"
    near = difflib.get_close_matches(name.lower(), known, 1)
    return "records have no such column" + (
        f"; is it {near[0]}?" if near else "; delete it, or see docs/own-archive.md for those that there are"
    )


def _row(file: Path, line: int, columns: Sequence[Column], cells: Sequence[str]) -> Row:
    record: dict[str, Any] = {}
    row = Row(file, line, record, {".".join(column.path): column.name for column in columns})
    kind = next(
        (cell for column, cell in zip(columns, cells, strict=True) if column.name == "type" and cell),
        type_of(file),
    )
    for column, cell in zip(columns, cells, strict=True):
        if cell and not _has(kind, column):
            those = (
                ", ".join(each.name for each in COLUMNS if _has(kind, each))
                if kind in MODELS
                else f"{LOOKUPS}FIELD"
            )
            raise bad(
                file,
                line,
                f"column {column.name}",
                f"a record of the type {kind} has no such field; it has {those}",
            )
        try:
            value = _read(column, cell) if cell else None
        except ValueError as wrong:
            raise bad(file, line, f"column {column.name}", str(wrong)) from None
        if column.name == "id" and value is None:
            raise bad(file, line, "column id", "every record needs one")
        *above, last = column.path
        if above and value is None:
            continue  # a Contact section or a lookup that nobody wrote
        into = record
        for name in above:
            into = into.setdefault(name, {})
        into[last] = value
    record["type"] = kind
    return row


def _has(kind: str, column: Column) -> bool:
    return kind not in MODELS if column.cell is Cell.LOOKUP else column.is_of(kind)


def _read(column: Column, cell: str) -> Any:
    """What a cell that is not empty means; ValueError with what it should have been."""
    match column.cell:
        case Cell.NUMBER:
            return _number(cell)
        case Cell.TIME:
            return _time(cell)
        case Cell.LIST:
            places = [place.strip() or None for place in cell.split(SEPARATOR)]
            return places if column.name in PLACES_COUNT else [place for place in places if place]
        case Cell.LOOKUP:
            kind, slash, id_ = cell.partition("/")
            if not slash or kind not in {ACCOUNT, CONTACT}:
                raise ValueError(f"a lookup is written {ACCOUNT}/ID or {CONTACT}/ID")
            return {"type": kind, "id": id_}
        case _:
            return cell


def _number(cell: str) -> int:
    try:
        return int(cell)
    except ValueError:
        raise ValueError("this is no whole number") from None


def _time(cell: str) -> str:
    try:
        moment = datetime.fromisoformat(cell)
    except ValueError:
        raise ValueError("this is no time such as 2026-11-20T09:12:00Z or 2026-11-20") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
