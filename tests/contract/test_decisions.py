"""Every decision has a status, a date and its enforcement, and the index lists every decision."""

import re
from pathlib import Path

import pytest

DECISIONS = Path(__file__).parents[2] / "docs/decisions"
PAGES = sorted(DECISIONS.glob("[0-9]*.md"))
STATUSES = {"proposed", "accepted", "replaced"}
SECTIONS = ["Decision", "Reasons", "Alternatives", "Enforced by"]


def head(page: Path) -> tuple[str, str, str, str]:
    """Returns number, title, status and date of a decision."""
    pattern = r"# (\d+)\. (.+)\n\nStatus: (\w+) · Date: (\d{4}-\d\d-\d\d)\n"
    found = re.match(pattern, page.read_text(encoding="utf-8"))
    assert found, f"{page.name} begins with `# NUMBER. TITLE`, then `Status: … · Date: …`"
    number, title, status, date = found.groups()
    return number, title, status, date


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_decision_has_number_status_date_and_sections(page: Path) -> None:
    number, _, status, _ = head(page)
    assert page.name.startswith(f"{int(number):04}-")
    assert status in STATUSES
    sections = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert sections == SECTIONS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_decision_names_what_enforces_it(page: Path) -> None:
    enforced = page.read_text(encoding="utf-8").rpartition("## Enforced by")[2]
    assert re.search(r"`(?:tests/|make |pyproject\.toml`|checks/)", enforced)


def test_numbers_have_no_gap() -> None:
    assert [int(head(page)[0]) for page in PAGES] == list(range(1, len(PAGES) + 1))


def test_index_lists_every_decision_as_its_page_has_it() -> None:
    index = (DECISIONS / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| \[(.+?)\]\((.+?)\) \| (\w+) \| (\S+) \|$", index, re.MULTILINE)
    pages = [(*head(page)[:2], page.name, *head(page)[2:]) for page in PAGES]
    assert rows == pages
