"""docs/glossary.md names modules that exist, and objects that they define."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = re.findall(
    r"^\| (?!term |-)(.+?) \| (.+) \| (.+?) \|$",
    (ROOT / "docs/glossary.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)
PLACES = [(term, place) for term, _, places in ROWS for place in re.findall(r"`([^`]+)`", places)]


def test_every_term_has_one_row() -> None:
    terms = [term for term, _, _ in ROWS]
    assert len(terms) > 40
    assert sorted({term for term in terms if terms.count(term) > 1}) == []
    assert [term for term, _, places in ROWS if "`" not in places] == []


def test_terms_are_in_alphabetical_order_in_each_section() -> None:
    for section in (ROOT / "docs/glossary.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        terms = re.findall(r"^\| (?!term |-)(.+?) \|", section, re.MULTILINE)
        assert terms == sorted(terms, key=lambda term: term.strip("`*").lower())


@pytest.mark.parametrize("term,place", PLACES)
def test_place_of_a_term_exists(term: str, place: str) -> None:
    """A place is a path, or `path: name` where the file, or one of the package's files, defines the name."""
    name_in = ROOT / place.partition(": ")[0]
    name = place.partition(": ")[2]
    assert name_in.exists(), f"{term}: no {name_in.relative_to(ROOT)}"
    if name:
        files = [name_in] if name_in.is_file() else sorted(name_in.rglob("*.py"))
        definition = re.compile(
            rf"^\s*(?:class |(?:async )?def |type )?{re.escape(name)}(?=[\[(:= ])", re.MULTILINE
        )
        assert any(definition.search(file.read_text(encoding="utf-8")) for file in files), (
            f"{term}: no {name}"
        )
