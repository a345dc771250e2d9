"""docs/decisions/0002-dependencies.md gives a reason for each dependency, and for nothing else."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def declared() -> set[str]:
    """The names of all packages that pyproject.toml asks for."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {re.match(r"[A-Za-z0-9._-]+", line)[0] for lines in extras.values() for line in lines}  # type: ignore[index]  # it matches anything
    return names - {"auto-capture"}


def test_each_dependency_has_its_reason() -> None:
    page = (ROOT / "docs/decisions/0002-dependencies.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \| (.+?) \|$", page, re.MULTILINE)
    assert {name for name, _ in rows} == declared()
    assert len(rows) == len(declared()), "a package stands there twice"


def test_requirements_are_pinned_by_hash_and_name_no_address() -> None:
    files = sorted((ROOT / "requirements").glob("*.txt"))
    assert [file.stem for file in files] == ["dev", "mail-ingest", "matcher", "simulator", "tracking"]
    for file in files:
        text = file.read_text()
        assert "://" not in text
        for requirement in re.split(r"\n(?=\S)", text.strip()):
            if not requirement.startswith("#"):
                assert re.match(r"\S+==\S+.*--hash=sha256:", requirement, re.DOTALL), requirement
