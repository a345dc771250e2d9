"""Every package has a reason, every program imports exactly its own extra, every requirement is pinned."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from checks.dependencies import (
    PROGRAMS,
    ROOT,
    differences,
    extra_packages,
    imported_modules,
    normalise,
    program_files,
)

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = ["dev", "mail-ingest", "matcher", "official-clients", "simulator", "tracking"]
"""The extras with a file of requirements."""
MINIMAL = """
[project.optional-dependencies]
service = ["pydantic"]
matcher = ["auto-capture[service]"]
mail-ingest = ["auto-capture[service]", "tzdata"]
"""
"""The extras of a small repository; tzdata is exempt in the second one."""


def declared() -> set[str]:
    """Returns the names of all packages in pyproject.toml, as they are written there."""
    extras = PYPROJECT["project"]["optional-dependencies"]
    requirements = {requirement for extra in extras.values() for requirement in extra}
    return {re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in requirements} - {"auto-capture"}


def repository(root: Path) -> Path:
    """Writes a repository with one empty service, `services/matcher`, and returns its root."""
    for package in ("services/matcher", "shared"):
        (root / package).mkdir(parents=True)
        (root / package / "__init__.py").touch()
    (root / "pyproject.toml").write_text(MINIMAL)
    return root


# -- reasons --------------------------------------------------------------------------------------


def test_every_dependency_has_a_reason() -> None:
    page = (ROOT / "docs/decisions/0002-dependencies.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \| (.+?) \|$", page, re.MULTILINE)
    assert {name for name, _ in rows} == declared()
    assert len(rows) == len(declared()), "a package has two rows"


def test_every_exception_of_deptry_is_declared_and_has_a_reason() -> None:
    exceptions = PYPROJECT["tool"]["deptry"]["per_rule_ignores"]["DEP002"]
    assert set(exceptions) <= declared() | {"auto-capture"}
    text = (ROOT / "pyproject.toml").read_text()
    assert [name for name in exceptions if not re.search(rf'^    "{name}", +# \w', text, re.MULTILINE)] == []


# -- each program and its extra -------------------------------------------------------------------


@pytest.mark.parametrize("extra,program", PROGRAMS.items())
def test_program_imports_exactly_its_extra(extra: str, program: str) -> None:
    assert differences(extra, program) == []


def test_matcher_has_no_mongodb_driver() -> None:
    assert extra_packages("matcher").isdisjoint({"motor", "pymongo"})
    assert ROOT / "shared/mongodb.py" not in program_files(PROGRAMS["matcher"])


def test_undeclared_import_is_found(tmp_path: Path) -> None:
    root = repository(tmp_path)
    (root / "services/matcher/app.py").write_text("import pydantic\ndef lazy():\n    import motor\n")
    assert differences("matcher", "services/matcher", root) == [
        "matcher: services/matcher/app.py imports motor, which the extra does not declare"
    ]


def test_undeclared_import_of_a_reached_shared_module_is_found(tmp_path: Path) -> None:
    root = repository(tmp_path)
    (root / "services/matcher/app.py").write_text("import pydantic\nfrom shared import bus\n")
    (root / "shared/bus.py").write_text("from .errors import RetryableError\n")
    (root / "shared/errors.py").write_text("import orjson\n")
    assert differences("matcher", "services/matcher", root) == [
        "matcher: shared/errors.py imports orjson, which the extra does not declare"
    ]


def test_shared_module_that_is_not_reached_does_not_count(tmp_path: Path) -> None:
    root = repository(tmp_path)
    (root / "services/matcher/app.py").write_text("import pydantic\n")
    (root / "shared/mongodb.py").write_text("import motor\n")
    assert differences("matcher", "services/matcher", root) == []


def test_command_of_shared_counts_for_every_service(tmp_path: Path) -> None:
    root = repository(tmp_path)
    (root / "services/matcher/app.py").write_text("import pydantic\n")
    (root / "shared/provision.py").write_text('import aiokafka\nif __name__ == "__main__":\n    pass\n')
    assert differences("matcher", "services/matcher", root) == [
        "matcher: shared/provision.py imports aiokafka, which the extra does not declare"
    ]


def test_unused_package_is_found(tmp_path: Path) -> None:
    root = repository(tmp_path)
    assert differences("matcher", "services/matcher", root) == [
        "matcher: the extra declares pydantic, which nothing imports"
    ]


def test_exemption_that_is_not_needed_is_found(tmp_path: Path) -> None:
    root = repository(tmp_path)
    (root / "services/matcher/app.py").write_text("import pydantic, tzdata\n")
    assert differences("mail-ingest", "services/matcher", root) == [
        "mail-ingest: NEVER_IMPORTED lists tzdata, which is imported or not declared"
    ]


def test_import_for_type_checking_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "shared/bus.py"
    path.parent.mkdir()
    path.write_text("if TYPE_CHECKING:\n    import motor\nelse:\n    from . import errors\n")
    assert set(imported_modules(path, tmp_path)) == {"shared", "shared.errors"}


# -- pinning --------------------------------------------------------------------------------------


def test_requirements_are_pinned_by_hash_and_name_no_address() -> None:
    files = sorted((ROOT / "requirements").glob("*.txt"))
    assert [file.stem for file in files] == EXTRAS
    for file in files:
        text = file.read_text()
        assert "://" not in text
        for requirement in re.split(r"\n(?=\S)", text.strip()):
            if not requirement.startswith("#"):
                assert re.match(r"\S+==\S+.*--hash=sha256:", requirement, re.DOTALL), requirement


@pytest.mark.parametrize("extra", EXTRAS)
def test_requirements_contain_every_package_of_their_extra(extra: str) -> None:
    pinned = re.findall(
        r"^([A-Za-z0-9._-]+)(?:\[.*\])?==", (ROOT / f"requirements/{extra}.txt").read_text(), re.MULTILINE
    )
    assert extra_packages(extra) <= {normalise(name) for name in pinned}


def test_packages_of_npm_are_pinned_by_hash_and_name_no_address() -> None:
    folder = ROOT / "tests/clients/javascript"
    declared = json.loads((folder / "package.json").read_text())["dependencies"]
    locked = json.loads((folder / "package-lock.json").read_text())["packages"]
    assert locked.pop("")["dependencies"] == declared
    assert [name for name, version in declared.items() if not re.fullmatch(r"\d+\.\d+\.\d+", version)] == []
    assert [name for name, package in locked.items() if not package.get("integrity")] == []
    assert [name for name, package in locked.items() if "resolved" in package] == []


def test_official_clients_are_in_no_other_requirements() -> None:
    clients = {normalise(name) for name in extra_packages("official-clients")}
    for extra in set(EXTRAS) - {"official-clients"}:
        pinned = re.findall(
            r"^([A-Za-z0-9._-]+)==", (ROOT / f"requirements/{extra}.txt").read_text(), re.MULTILINE
        )
        assert clients.isdisjoint(map(normalise, pinned))
