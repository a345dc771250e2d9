"""Documents name existing files only, and README names existing commands of make only."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = {
    f"/{path.relative_to(ROOT)}"
    for directory in ("checks", "deploy", "docs", "scenarios", "services", "shared", "simulator", "tests")
    for path in (ROOT / directory).rglob("*.py")
}
DOCUMENTS = sorted(
    str(path.relative_to(ROOT)) for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_python_files_exist(document: str) -> None:
    named = re.findall(r"`([a-z_/]+\.py)`", (ROOT / document).read_text())
    assert [name for name in named if not any(file.endswith(f"/{name}") for file in FILES)] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_within_the_project_have_a_target(document: str) -> None:
    here = (ROOT / document).parent
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / document).read_text())
    assert [link for link in links if not (here / link).exists()] == []


def test_make_commands_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert named
    assert named <= targets
