"""Finds words that docs/glossary.md replaces, in code, tests, scripts, documents and the page.

checks/vocabulary.toml holds the table of banned words with their replacements, and the exceptions with their
reasons. A `[[banned]]` row has one of these keys, and optionally `files`, the patterns that it is limited to:

    words        anywhere, also as parts of identifiers
    identifiers  parts of identifiers only: names in Python, compounds and code in backticks elsewhere
    names        whole identifiers, with their case: names in Python, code in backticks elsewhere
    phrases      regular expressions over a line

Identifiers are split at underscores and capital letters. Case does not matter, except for `names`.

    python -m checks.vocabulary                     prints file:line: word; status 1 if there is any
    python -m checks.vocabulary --count [ROOT]      prints lines and words for each directory of a tree
"""

import argparse
import fnmatch
import io
import re
import sys
import tokenize
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from checks.tree import ROOT, tracked_files

TABLE = ROOT / "checks/vocabulary.toml"

SUFFIXES = {
    ".css",
    ".env",
    ".example",
    ".html",
    ".js",
    ".json",
    ".md",
    ".py",
    ".sh",
    ".toml",
    ".yaml",
    ".yml",
}
NAMES = {".editorconfig", "CODEOWNERS", "Dockerfile", "Makefile", "run"}
"""Files without one of the suffixes that are read nevertheless; `run` is .ci/run."""

RUN = re.compile(r"[A-Za-z]+")
PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
ENCODED = re.compile(r"[A-Za-z0-9+/=_-]{40,}(?<![a-z]_)")
"""Hashes, tokens and keys; their letters are not words."""
COMPOUND = re.compile(r"\b(?:[A-Za-z]+_\w+|[A-Za-z]*[a-z][A-Z]\w*)\b")
QUOTED = re.compile(r"`([^`\s]+)`")
IDENTIFIER = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Finding:
    """One banned word in one line of one file; `replacement` is the column of the table."""

    file: str
    line: int
    word: str
    replacement: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.word} (instead: {self.replacement})"


@dataclass
class Exemption:
    """An exception: banned words that stay in some files, optionally only in lines that match a pattern."""

    files: tuple[str, ...]
    words: frozenset[str]
    reason: str
    line: re.Pattern[str] | None = None
    used: bool = False

    def covers(self, file: str, word: str, text: str) -> bool:
        """Returns whether a finding is exempt, and remembers that the exception is needed."""
        if word.lower() not in self.words or not matches(file, self.files):
            return False
        if self.line and not self.line.search(text):
            return False
        self.used = True
        return True


@dataclass
class Table:
    """checks/vocabulary.toml. Words and parts of identifiers are in lower case."""

    skipped: tuple[str, ...] = ()
    words: dict[str, str] = field(default_factory=dict)
    identifiers: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    names: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    phrases: list[tuple[re.Pattern[str], str]] = field(default_factory=list)
    exemptions: list[Exemption] = field(default_factory=list)

    @classmethod
    def parse(cls, text: str) -> "Table":
        """Returns the table that a TOML document describes."""
        document = tomllib.loads(text)
        table = cls(skipped=tuple(row["files"] for row in document.get("skipped", [])))
        for row in document.get("banned", []):
            table._add(row)
        for row in document.get("exception", []):
            files = (row["files"],) if isinstance(row["files"], str) else tuple(row["files"])
            words = frozenset(word.lower() for word in row["words"])
            line = re.compile(row["line"]) if "line" in row else None
            table.exemptions.append(Exemption(files, words, row["reason"], line))
        return table

    def _add(self, row: Mapping[str, Any]) -> None:
        replacement, files = row["instead"], tuple(row.get("files", ["**"]))
        self.words |= dict.fromkeys(row.get("words", []), replacement)
        self.identifiers |= dict.fromkeys(row.get("identifiers", []), (replacement, files))
        self.names |= dict.fromkeys(row.get("names", []), (replacement, files))
        self.phrases += [
            (re.compile(phrase, re.IGNORECASE), replacement) for phrase in row.get("phrases", [])
        ]

    @cached_property
    def any_word(self) -> re.Pattern[str]:
        """Matches a line that may hold a banned word; most lines need no closer look."""
        return re.compile("|".join(map(re.escape, self.words)) or r"\Z.", re.IGNORECASE)


def matches(file: str, patterns: Iterable[str]) -> bool:
    """Returns whether a path matches one of the glob patterns; `**` also stands for no directory at all."""
    return any(
        fnmatch.fnmatchcase(file, pattern) or fnmatch.fnmatchcase(file, pattern.replace("**/", ""))
        for pattern in patterns
    )


def parts(text: str) -> Iterator[str]:
    """Yields the words of a text, with identifiers split at underscores and capital letters."""
    for run in RUN.findall(text):
        yield from PART.findall(run)


def identifiers(file: str, text: str) -> dict[int, list[str]]:
    """Returns the identifiers of a file by line number."""
    found: dict[int, list[str]] = defaultdict(list)
    if file.endswith(".py"):
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.NAME:
                found[token.start[0]].append(token.string)
    for number, line in enumerate(text.splitlines(), start=1):
        quoted = [name for code in QUOTED.findall(line) for name in IDENTIFIER.findall(code)]
        found[number] += quoted if file.endswith(".py") else {*quoted, *COMPOUND.findall(line)}
    return found


def find(file: str, text: str, table: Table) -> Iterator[Finding]:
    """Yields every banned word of a file that no exception covers, in the order of lines."""
    named = identifiers(file, text)
    for number, line in enumerate(text.splitlines(), start=1):
        findings = [*_in_line(line, table), *_in_identifiers(file, named.get(number, ()), table)]
        for word, replacement in dict.fromkeys(findings):
            if not any(exemption.covers(file, word, line) for exemption in table.exemptions):
                yield Finding(file, number, word, replacement)


def _in_line(line: str, table: Table) -> Iterator[tuple[str, str]]:
    if table.any_word.search(line):
        for word in parts(ENCODED.sub(" ", line)):
            if replacement := table.words.get(word.lower()):
                yield word, replacement
    for pattern, replacement in table.phrases:
        for match in pattern.finditer(line):
            yield match[0], replacement


def _in_identifiers(file: str, named: Iterable[str], table: Table) -> Iterator[tuple[str, str]]:
    for name in named:
        if name in table.names:
            replacement, files = table.names[name]
            if matches(file, files):
                yield name, replacement
        for part in parts(name):
            replacement, files = table.identifiers.get(part.lower(), ("", ()))
            if matches(file, files) and name != "round":  # Python's function
                yield part, replacement


def files_to_read(root: Path, table: Table) -> Iterator[tuple[str, str]]:
    """Yields path and text of every file that the table applies to."""
    for path in tracked_files(root):
        file = path.relative_to(root).as_posix()
        if (path.suffix in SUFFIXES or path.name in NAMES) and not matches(file, table.skipped):
            yield file, path.read_text(encoding="utf-8")


def findings_in(root: Path, table: Table) -> list[Finding]:
    """Returns the findings of a whole tree."""
    return [finding for file, text in files_to_read(root, table) for finding in find(file, text, table)]


def directory(file: str) -> str:
    """Returns the directory that a file is counted under: services/NAME, or the first one of its path."""
    first, *others = file.split("/")
    if not others:
        return "(root)"
    return f"{first}/{others[0]}" if first == "services" and len(others) > 1 else first


def count(findings: Iterable[Finding]) -> str:
    """Returns a table of lines and words by directory, with the total in its last line."""
    words: Counter[str] = Counter()
    lines: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for finding in findings:
        words[directory(finding.file)] += 1
        lines[directory(finding.file)].add((finding.file, finding.line))
    rows = [(name, len(lines[name]), words[name]) for name in sorted(words)]
    rows.append(("total", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    return "\n".join(f"{name:24}{number:7} lines{total:7} words" for name, number, total in rows)


def main() -> int:
    """Prints the findings, or counts them, and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m checks.vocabulary", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "root", nargs="?", type=Path, default=ROOT, help="the tree to read (default: this one)"
    )
    parser.add_argument("--count", action="store_true", help="print the count of each directory; status 0")
    options = parser.parse_args()
    table = Table.parse(TABLE.read_text(encoding="utf-8"))
    findings = findings_in(options.root.resolve(), table)
    if options.count:
        print(count(findings))
        return 0
    unused = [exemption for exemption in table.exemptions if not exemption.used]
    for finding in findings:
        print(finding)
    for exemption in unused:
        print(f"{TABLE.name}: no line needs this exception any more: {exemption.reason}")
    if findings:
        print(f"vocabulary: {len(findings)} banned words; docs/glossary.md has the terms to use")
    elif not unused:
        print("vocabulary: no banned words")
    return 1 if findings or unused else 0


if __name__ == "__main__":
    sys.exit(main())
