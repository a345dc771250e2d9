"""Compares the results of a verification with the expectations of an independent oracle.

`python -m scenarios.compare --out DIR --expected DIR --mail DIR [--meetings DIR]` prints the missing and
extra messages, meetings, record addresses and deliveries, and exits with 0 only if all are identical. It
reads the archive with code of its own and shares none with the simulator.
"""

import argparse
import gzip
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from email.policy import compat32
from pathlib import Path
from typing import Any, TypeAlias

Rows: TypeAlias = Counter[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one comparison: the missing and the extra rows, and the number of expected rows."""

    subject: str
    expected: int
    missing: Rows
    extra: Rows

    @property
    def identical(self) -> bool:
        return not self.missing and not self.extra

    def lines(self) -> Iterator[str]:
        """The counts, and the first five differences of each kind."""
        missing, extra = self.missing.total(), self.extra.total()
        yield f"{self.subject:<18} {self.expected:>9} expected  {missing:>7} missing  {extra:>7} extra"
        for label, differences in (("missing", self.missing), ("extra", self.extra)):
            for difference in sorted(differences, key=repr)[:5]:
                yield f"    {label}: {' '.join(str(part) for part in difference)}"


def compare(subject: str, expected: Iterable[tuple[Any, ...]], found: Iterable[tuple[Any, ...]]) -> Verdict:
    """Compare two multisets."""
    expected_rows, found_rows = Counter(expected), Counter(found)
    return Verdict(subject, expected_rows.total(), expected_rows - found_rows, found_rows - expected_rows)


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON lines of a file, plain or gzipped; no rows if the file does not exist."""
    packed = path.with_name(path.name + ".gz")
    if packed.exists():
        with gzip.open(packed, "rt", encoding="utf-8") as file:
            yield from map(json.loads, file)
    elif path.exists():
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)


def read_matches(folder: Path, kind: str, name: str) -> dict[str, set[tuple[str, str]]]:
    """Item -> its (type, id) pairs."""
    return {
        row[name]: {(kind, id_) for kind, id_ in row["matches"]}
        for row in read_rows(folder / f"{kind}-matches.jsonl")
    }


def triples(table: dict[str, set[tuple[str, str]]]) -> Iterator[tuple[str, str, str]]:
    """(item, type, id) triples."""
    return ((item, kind, id_) for item, pairs in table.items() for kind, id_ in pairs)


def read_addresses(folder: Path) -> Iterator[tuple[str, str, str]]:
    """(type, id, address) triples, and (type, id, "") for every record, including those without addresses."""
    for row in read_rows(folder / "record-addresses.jsonl"):
        yield row["type"], row["id"], ""
        for address in row["addresses"]:
            yield row["type"], row["id"], address


def archived_messages(folder: Path) -> Iterator[tuple[str, str]]:
    """(mailbox, Message-ID) of every delivery of a mail archive."""
    owners: dict[str, list[str]] = defaultdict(list)
    for row in read_rows(folder / "index.jsonl"):
        if "owners" in row:
            owners[row["id"]].extend(row["owners"])
    for path in sorted(folder.iterdir()):
        name = path.name.removesuffix(".gz")
        if not name.endswith((".mbox", ".eml")):
            continue
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        messages = [raw]
        if name.endswith(".mbox"):
            messages = [message.split(b"\n", 1)[-1] for message in raw.split(b"\n\nFrom ")] if raw else []
        file_owner = folder.name if name.endswith(".eml") else name.removesuffix(".mbox")
        for message in messages:
            header = BytesHeaderParser(policy=compat32).parsebytes(message)
            message_id = str(header["message-id"] or "").strip()
            for owner in owners.get(message_id, []) if owners else [file_owner]:
                yield owner, message_id


def archived_meetings(folder: Path | None) -> Iterator[tuple[str, str]]:
    """(mailbox, UID) of every event of a folder of calendars."""
    for path in sorted(folder.glob("*.ics")) if folder else ():
        text = (
            path.read_bytes()
            .replace(b"\r\n", b"\n")
            .replace(b"\n ", b"")
            .replace(b"\n\t", b"")
            .decode(errors="replace")
        )
        for event in text.split("BEGIN:VEVENT\n")[1:]:
            uid = next((line.partition(":")[2] for line in event.split("\n") if line.startswith("UID:")), "")
            yield path.stem, uid.strip()


def verdicts(out: Path, expected: Path, mail: Path, meetings: Path | None) -> Iterator[Verdict]:
    """The verdicts of all comparisons."""
    expected_matches = {}
    for kind, name in (("message", "message_id"), ("meeting", "uid")):
        if kind == "meeting" and meetings is None:
            continue
        expected_matches[kind] = read_matches(expected, kind, name)
        found = triples(read_matches(out, kind, name))
        yield compare(f"{kind} matches", triples(expected_matches[kind]), found)
    yield compare("record addresses", read_addresses(expected), read_addresses(out))

    deliveries = list(read_rows(out / "deliveries.jsonl"))
    for kind, name, archived in (
        ("message", "message_id", archived_messages(mail)),
        ("meeting", "uid", archived_meetings(meetings)),
    ):
        if kind not in expected_matches:
            continue
        delivered = [row for row in deliveries if name in row]
        in_archive = list(archived)
        yield compare(f"{kind} deliveries", in_archive, ((row["mailbox"], row[name]) for row in delivered))
        yield compare(
            f"{kind} copies",
            (
                (mailbox, item, *pair)
                for mailbox, item in in_archive
                for pair in expected_matches[kind].get(item, ())
            ),
            ((row["mailbox"], row[name], kind_, id_) for row in delivered for kind_, id_ in row["matches"]),
        )


def main() -> None:
    """Print the verdicts."""
    parser = argparse.ArgumentParser(prog="python -m scenarios.compare", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--expected", type=Path, required=True)
    parser.add_argument("--mail", type=Path, required=True)
    parser.add_argument("--meetings", type=Path)
    args = parser.parse_args()
    missing = [
        str(path)
        for path in (args.out, args.expected, args.mail, args.meetings)
        if path and not path.is_dir()
    ]
    if missing:
        sys.exit(f"no such folder: {', '.join(missing)}")
    identical = True
    for verdict in verdicts(args.out, args.expected, args.mail, args.meetings):
        identical = identical and verdict.identical
        print("\n".join(verdict.lines()))
    print("identical" if identical else "NOT identical")
    sys.exit(0 if identical else 1)


if __name__ == "__main__":
    main()
