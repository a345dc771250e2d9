"""Documents name files that are there, and README's commands are doors of the Makefile."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = {
    f"/{path.relative_to(ROOT)}"
    for directory in ("checks", "services", "shared", "deploy", "simulator", "scenarios", "tests", "docs")
    for path in (ROOT / directory).rglob("*.py")
}
DOCUMENTS = sorted(
    str(path.relative_to(ROOT)) for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_python_file_that_a_document_names_is_there(document: str) -> None:
    named = re.findall(r"`([a-z_/]+\.py)`", (ROOT / document).read_text())
    assert [name for name in named if not any(file.endswith(f"/{name}") for file in FILES)] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_within_the_project_leads_somewhere(document: str) -> None:
    here = (ROOT / document).parent
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / document).read_text())
    assert [link for link in links if not (here / link).exists()] == []


def test_every_command_of_the_readme_is_a_door() -> None:
    doors = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert asked
    assert asked <= doors
