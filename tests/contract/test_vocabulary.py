"""The whole tree uses the terms of docs/glossary.md, and the check finds every banned word."""

import tomllib
from pathlib import Path

import pytest

from checks.vocabulary import TABLE, Table, count, find, findings_in

TEXT = TABLE.read_text(encoding="utf-8")


def found(file: str, text: str, table: str = TEXT) -> list[str]:
    """Returns the banned words of a file with this text."""
    return [finding.word for finding in find(file, text, Table.parse(table))]


def banned(key: str) -> list[str]:
    """Returns all entries of one kind in the table that apply to every file."""
    rows = [row for row in tomllib.loads(TEXT)["banned"] if "files" not in row]
    return [entry for row in rows for entry in row.get(key, [])]


def test_tree_uses_no_banned_word_and_needs_every_exception() -> None:
    """Red until the renaming of the whole tree is merged."""
    table = Table.parse(TEXT)
    findings = findings_in(TABLE.parents[1], table)
    assert not findings, f"{len(findings)} banned words, `make lint` prints all:\n" + "\n".join(
        str(finding) for finding in findings[:20]
    )
    assert [exemption.reason for exemption in table.exemptions if not exemption.used] == []


def test_every_exception_has_a_reason() -> None:
    document = tomllib.loads(TEXT)
    rows = [*document["exception"], *document["skipped"]]
    assert [row for row in rows if len(row["reason"].split()) < 2] == []


@pytest.mark.parametrize("word", banned("words"))
def test_banned_word_is_found_in_prose_and_in_identifiers(word: str) -> None:
    assert found("docs/page.md", f"Before {word} after.") == [word]
    assert found("shared/module.py", f"# Before {word.capitalize()}, after") == [word.capitalize()]
    assert found("shared/module.py", f"first_{word} = 1") == [word]
    assert found("services/page/app.js", f"first{word.capitalize()}()") == [word.capitalize()]
    assert found("deploy/compose.yml", f"  {word.upper()}_EVERY: 1") == [word.upper()]


@pytest.mark.parametrize("part", banned("identifiers"))
def test_banned_part_of_an_identifier_is_found(part: str) -> None:
    assert found("shared/module.py", f"{part}_mailbox = 1") == [part]
    assert found("services/page/app.js", f"{part}Mailbox()") == [part]
    assert found("docs/page.md", f"the function `{part}_all`") == [part]
    assert found("docs/page.md", f"a {part} in a sentence") == []


@pytest.mark.parametrize("name", banned("names"))
def test_banned_name_is_found(name: str) -> None:
    assert found("shared/module.py", f"raise {name}") == [name]
    assert found("docs/page.md", f"`{name}`") == [name]
    assert found("shared/module.py", f"My{name} = 1") == []


@pytest.mark.parametrize(
    "text",
    ["a task in another return", "timestamp", "mask = basket", "turnover", "whether", "brush", "round(1.5)"],
)
def test_harmless_word_is_not_found(text: str) -> None:
    assert found("shared/module.py", text) == []


def test_word_in_a_hash_is_not_found() -> None:
    assert found("docs/page.md", "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaSay0") == []


def test_finding_names_file_line_word_and_replacement() -> None:
    table = Table.parse('[[banned]]\nwords = ["say"]\ninstead = "publish"')
    [finding] = find("shared/bus.py", "x = 1\n# we say it\n", table)
    assert str(finding) == "shared/bus.py:2: say (instead: publish)"


BANNED = '[[banned]]\nwords = ["hint"]\ninstead = "notification"\n'
EXCEPTION = (
    '[[exception]]\nfiles = "simulator/**"\nwords = ["hint"]\nline = "login_hint"\nreason = "OpenID Connect"'
)


@pytest.mark.parametrize(
    "file,text,words",
    [
        ("simulator/entra/authority.py", "login_hint = 1", []),
        ("simulator/authority.py", "login_hint = 1", []),
        ("simulator/authority.py", "hint = 1", ["hint"]),
        ("services/tracking/signin.py", "login_hint = 1", ["hint"]),
    ],
)
def test_exception_covers_its_files_and_lines_only(file: str, text: str, words: list[str]) -> None:
    assert found(file, text, BANNED + EXCEPTION) == words


def test_exception_that_no_line_needs_is_noticed(tmp_path: Path) -> None:
    table = Table.parse(BANNED + EXCEPTION)
    (tmp_path / "simulator").mkdir()
    (tmp_path / "simulator/app.py").write_text("x = 1\n")
    assert findings_in(tmp_path, table) == []
    assert [exemption.used for exemption in table.exemptions] == [False]


def test_count_is_by_directory(tmp_path: Path) -> None:
    for file in (
        "services/tracking/api.py",
        "services/tracking/domain/timeline.py",
        "tests/test_api.py",
        "README.md",
    ):
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("# hint, hints: two words in one line\n# hint\n")
    (tmp_path / "picture.png").write_bytes(b"hint")
    table = Table.parse(BANNED.replace('"hint"', '"hint", "hints"'))
    rows = [line.split() for line in count(findings_in(tmp_path, table)).splitlines()]
    assert rows == [
        ["(root)", "2", "lines", "3", "words"],
        ["services/tracking", "4", "lines", "6", "words"],
        ["tests", "2", "lines", "3", "words"],
        ["total", "8", "lines", "12", "words"],
    ]
