"""Compares what a verification wrote with what an independent oracle expects.

`python -m simulator.compare --out DIR --expected DIR --mail DIR [--meetings DIR]` prints missing and
extra for messages, meetings, record addresses and every single delivery; exit 0 only if all are
identical. It reads the archive in its own way and shares no code with the loader.
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

Pairs: TypeAlias = Counter[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One comparison: what is missing, what is extra, out of how many."""

    what: str
    expected: int
    missing: Pairs
    extra: Pairs

    @property
    def identical(self) -> bool:
        return not self.missing and not self.extra

    def lines(self) -> Iterator[str]:
        """The verdict, and the first few differences."""
        yield f"{self.what:<18} {self.expected:>9} expected  {self.missing.total():>7} missing  {self.extra.total():>7} extra"
        for word, differences in (("missing", self.missing), ("extra", self.extra)):
            for difference in sorted(differences, key=repr)[:5]:
                yield f"    {word}: {' '.join(str(part) for part in difference)}"


def compare(what: str, expected: Iterable[tuple[Any, ...]], found: Iterable[tuple[Any, ...]]) -> Verdict:
    """Both as multisets."""
    wanted, had = Counter(expected), Counter(found)
    return Verdict(what, wanted.total(), wanted - had, had - wanted)


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON lines of a file, packed or not; none where there is no such file."""
    packed = path.with_name(path.name + ".gz")
    if packed.exists():
        with gzip.open(packed, "rt", encoding="utf-8") as file:
            yield from map(json.loads, file)
    elif path.exists():
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)


def matches(folder: Path, kind: str, name: str) -> dict[str, set[tuple[str, str]]]:
    """Item -> its (type, id) pairs."""
    return {
        row[name]: {(kind, id_) for kind, id_ in row["matches"]}
        for row in rows(folder / f"{kind}-matches.jsonl")
    }


def flat(table: dict[str, set[tuple[str, str]]]) -> Iterator[tuple[str, str, str]]:
    """(item, type, id) triples."""
    return ((item, kind, id_) for item, pairs in table.items() for kind, id_ in pairs)


def addresses(folder: Path) -> Iterator[tuple[str, str, str]]:
    """(type, id, address) triples, and (type, id, "") for every record, so that one without addresses counts."""
    for row in rows(folder / "record-addresses.jsonl"):
        yield row["type"], row["id"], ""
        for address in row["addresses"]:
            yield row["type"], row["id"], address


def archived_messages(folder: Path) -> Iterator[tuple[str, str]]:
    """(mailbox, Message-ID) of every delivery of a mail archive."""
    owners: dict[str, list[str]] = defaultdict(list)
    for row in rows(folder / "index.jsonl"):
        if "owners" in row:
            owners[row["id"]].extend(row["owners"])
    for path in sorted(folder.iterdir()):
        name = path.name.removesuffix(".gz")
        if not name.endswith((".mbox", ".eml")):
            continue
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        letters = [raw]
        if name.endswith(".mbox"):
            letters = [letter.split(b"\n", 1)[-1] for letter in raw.split(b"\n\nFrom ")] if raw else []
        for letter in letters:
            message_id = str(
                BytesHeaderParser(policy=compat32).parsebytes(letter)["message-id"] or ""
            ).strip()
            for owner in (
                owners.get(message_id, [])
                if owners
                else [folder.name if name.endswith(".eml") else name.removesuffix(".mbox")]
            ):
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
    """Every comparison."""
    tables = {}
    for kind, name in (("message", "message_id"), ("meeting", "uid")):
        if kind == "meeting" and meetings is None:
            continue
        tables[kind] = matches(expected, kind, name)
        yield compare(f"{kind} matches", flat(tables[kind]), flat(matches(out, kind, name)))
    yield compare("record addresses", addresses(expected), addresses(out))

    deliveries = list(rows(out / "deliveries.jsonl"))
    for kind, name, archived in (
        ("message", "message_id", archived_messages(mail)),
        ("meeting", "uid", archived_meetings(meetings)),
    ):
        if kind not in tables:
            continue
        of_kind = [row for row in deliveries if name in row]
        own = list(archived)
        yield compare(f"{kind} deliveries", own, ((row["mailbox"], row[name]) for row in of_kind))
        yield compare(
            f"{kind} copies",
            ((box, item, *pair) for box, item in own for pair in tables[kind].get(item, ())),
            ((row["mailbox"], row[name], kind_, id_) for row in of_kind for kind_, id_ in row["matches"]),
        )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m simulator.compare", description=__doc__)
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
