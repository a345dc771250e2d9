"""The files that people expect of a repository agree with the code and with each other."""

import ast
import hashlib
import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from checks.commit_message import problems as message_problems
from checks.tree import ROOT, tracked_and_ignored, tracked_files
from shared.version import VERSION

PAGES = sorted(path.name for path in ROOT.glob("*.md"))
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))

APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
"""SHA-256 of the licence's text, as the Apache Software Foundation publishes it."""


def text(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


# -- version --------------------------------------------------------------------------------------


def test_version_is_the_same_everywhere() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)
    assert tomllib.loads(text("pyproject.toml"))["project"]["version"] == VERSION
    assert re.findall(r"^## \[(\d\S*)\] - ", text("CHANGELOG.md"), re.MULTILINE)[0] == VERSION


def test_changelog_has_the_form_of_keep_a_changelog() -> None:
    titles = re.findall(r"^## (.+)$", text("CHANGELOG.md"), re.MULTILINE)
    assert titles[0] == "[Unreleased]"
    released = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - (\d{4}-\d\d-\d\d)", title) for title in titles[1:]]
    assert all(released)
    versions = [tuple(map(int, match.groups()[:3])) for match in released if match]
    assert versions == sorted(versions, reverse=True)
    dates = [match[4] for match in released if match]
    assert dates == sorted(dates, reverse=True)
    kinds = set(re.findall(r"^### (.+)$", text("CHANGELOG.md"), re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_license_is_the_unchanged_apache_license() -> None:
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2
    assert tomllib.loads(text("pyproject.toml"))["project"]["license"] == "Apache-2.0"


# -- documents ------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_to_files(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text(page))
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("page", [*PAGES, ".github/pull_request_template.md"])
def test_make_targets_that_a_page_names_exist(page: str) -> None:
    assert set(re.findall(r"`make ([a-z][a-z-]*)", text(page))) <= TARGETS


def test_paths_that_contributing_names_exist() -> None:
    named = re.findall(
        r"`((?:\.ci|checks|docs|services|shared|tests|requirements)/[\w./*-]*)`", text("CONTRIBUTING.md")
    )
    assert named
    assert [path for path in named if not any(ROOT.glob(path.rstrip("/")))] == []


def test_contributing_lists_each_section_of_the_tests_of_full_size() -> None:
    listed = re.findall(r"^\| `([a-z-]+)` \|", text("CONTRIBUTING.md"), re.MULTILINE)
    assert listed == sorted(sections_of_full_size())


def sections_of_full_size() -> set[str]:
    """The sections that the marks `full` and `sized` of all tests name."""
    calls = (
        node
        for file in (ROOT / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    )
    marks = (call for call in calls if re.fullmatch(r"pytest\.mark\.(full|sized)", ast.unparse(call.func)))
    return {str(ast.literal_eval(mark.args[0])) for mark in marks}


def test_contributing_describes_the_usual_changes() -> None:
    titles = re.findall(r"^## (.+)$", text("CONTRIBUTING.md"), re.MULTILINE)
    changes = ["rule", "topic", "kind of activity", "setting", "dependency"]
    assert [change for change in changes if f"How to add a {change}" not in titles] == []


# -- GitHub ---------------------------------------------------------------------------------------


def test_codeowners_patterns_match_files_and_have_owners() -> None:
    rules = [
        line.split() for line in text(".github/CODEOWNERS").splitlines() if line.strip() and line[0] != "#"
    ]
    assert rules[0][0] == "*", "the first rule is the default"
    assert [pattern for pattern, *owners in rules if not owners] == []
    assert [pattern for pattern, *_ in rules[1:] if not (ROOT / pattern.strip("/")).exists()] == []
    owners = {owner for _, *names in rules for owner in names}
    assert [owner for owner in owners if not re.fullmatch(r"@[\w-]+(/[\w-]+)?", owner)] == []


def test_workflow_runs_what_ci_runs() -> None:
    workflow = text(".github/workflows/ci.yml")
    assert re.findall(r"^ +run: (.+)$", workflow, re.MULTILINE)[-1] == ".ci/run"
    assert "permissions:\n  contents: read" in workflow


def test_containers_of_ci_and_development_have_the_python_of_the_images() -> None:
    [version] = re.findall(r"^ARG PYTHON=(\d+\.\d+)", text("deploy/Dockerfile"), re.MULTILINE)
    assert f"image: python:{version}-" in text(".github/workflows/ci.yml")
    assert f"FROM python:{version}-" in text(".devcontainer/Dockerfile")


def test_devcontainer_forwards_ports_of_the_system() -> None:
    ports = json.loads(text(".devcontainer/devcontainer.json"))["forwardPorts"]
    assert [port for port in ports if str(port) not in text("docs/architecture.md")] == []


def test_issues_are_filed_by_forms_only() -> None:
    names = {path.name for path in (ROOT / ".github/ISSUE_TEMPLATE").iterdir()}
    assert names == {"bug.yml", "change.yml", "config.yml"}


# -- tools ----------------------------------------------------------------------------------------


def test_hooks_of_pre_commit_are_checks_of_make_lint() -> None:
    entries = re.findall(r"^ +entry: (.+)$", text(".pre-commit-config.yaml"), re.MULTILINE)
    assert entries
    lint = MAKEFILE.replace("$(RUN)", ".venv/bin/python")
    wanted = [entry.removesuffix(" --force-exclude") for entry in entries if "commit_message" not in entry]
    assert [entry for entry in wanted if entry.split(" --check")[0] not in lint] == []


def test_every_check_runs_in_make_lint() -> None:
    checks = [path.stem for path in (ROOT / "checks").glob("*.py") if "def main(" in path.read_text()]
    assert len(checks) > 3
    assert [name for name in checks if f"-m checks.{name}" not in MAKEFILE] == ["commit_message"], (
        "a hook of git"
    )


def test_requirements_agree_on_versions() -> None:
    versions: dict[str, set[str]] = {}
    for file in (ROOT / "requirements").glob("*.txt"):
        for line in re.findall(r"^\S+==.+$", file.read_text(), re.MULTILINE):
            package, _, version = line.rstrip(" \\").partition(" ;")[0].partition("==")
            versions.setdefault(package.partition("[")[0], set()).add(version)
    assert {package: found for package, found in versions.items() if len(found) > 1} == {}


def test_renovate_knows_every_package_that_it_names() -> None:
    named = {
        name
        for rule in json.loads(text("renovate.json"))["packageRules"]
        for name in rule.get("matchPackageNames", [])
    }
    assert [name for name in sorted(named) if f'"{name}' not in text("pyproject.toml")] == []


def revisions() -> list[str]:
    """Returns the commits that `git blame` passes over."""
    return [line for line in text(".git-blame-ignore-revs").splitlines() if line and not line.startswith("#")]


def test_revisions_for_git_blame_are_full_hashes_below_their_subject() -> None:
    assert revisions()
    assert [line for line in revisions() if not re.fullmatch(r"[0-9a-f]{40}", line)] == []


def test_revisions_for_git_blame_are_in_the_history() -> None:
    """In a shallow or exported tree there is no history to compare with; CI fetches all of it."""
    shallow = ["git", "rev-parse", "--is-shallow-repository"]
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return
    if subprocess.run(shallow, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip() == "true":
        return
    subjects = re.findall(r"^# (.+)\n(?=[0-9a-f]{40}$)", text(".git-blame-ignore-revs"), re.MULTILINE)
    show = ["git", "log", "--no-walk=unsorted", "--format=%s", *revisions()]
    assert (
        subprocess.run(show, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
        == subjects
    )


def test_repository_names_no_registry_and_no_mail_address() -> None:
    registries = re.compile(
        r"pypi\.org|pythonhosted|registry\.npmjs|ghcr\.io|docker\.io|mcr\.microsoft\.com|repo1?\.maven"
    )
    files = [
        *ROOT.glob("*.md"),
        *(ROOT / ".github").rglob("*"),
        *(ROOT / ".devcontainer").iterdir(),
        ROOT / "renovate.json",
    ]
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in files if path.is_file()}
    assert [file for file, content in texts.items() if registries.search(content)] == []
    addresses = {
        file: re.findall(r"\b[\w.+-]+@[\w-]+\.[a-z]{2,}", content) for file, content in texts.items()
    }
    own = {"ann@fabrikam.com"}
    assert {file: found for file, found in addresses.items() if set(found) - own} == {}


# -- commit messages ------------------------------------------------------------------------------


def test_message_in_the_right_form_has_no_problem() -> None:
    assert (
        list(message_problems("Publish readers again when a default changes\n\nOld entries kept theirs.\n"))
        == []
    )
    assert list(message_problems("Merge branch 'main'\n")) == []


@pytest.mark.parametrize(
    "message,problem",
    [
        ("", "subject is empty"),
        ("x" * 73 + "\n\nWhy.", "73 characters"),
        ("Change it.\n\nWhy.", "full stop"),
        ("change it\n\nWhy.", "lower-case"),
        ("Change it\nWhy.", "second line"),
        ("Change it\n\n# comment\n", "no body"),
    ],
)
def test_message_in_a_wrong_form_is_found(message: str, problem: str) -> None:
    assert any(problem in found for found in message_problems(message))


# -- text files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name,content,problem",
    [
        ("a.py", b"x = 1", "no newline at the end of the file"),
        ("a.py", b"x = 1 \n", "white space at the end of the line"),
        ("a.py", b"x = 1\r\n", "line ends with CR LF"),
        ("a.py", b"\tx = 1\n", "indented with a tab"),
        ("a.py", b"x = '\xff'\n", "not utf-8"),
        ("Makefile", b"all:\n\ttrue\n", None),
        ("a.py", b"", None),
    ],
)
def test_text_file_is_compared_with_editorconfig(
    tmp_path: Path, name: str, content: bytes, problem: str | None
) -> None:
    pytest.importorskip("editorconfig")
    from checks.textfiles import problems

    shutil.copy(ROOT / ".editorconfig", tmp_path)
    (tmp_path / name).write_bytes(content)
    assert [found for _, found in problems(tmp_path / name)] == ([problem] if problem else [])


def test_ignored_files_are_not_read() -> None:
    files = {path.relative_to(ROOT).parts[0] for path in tracked_files()}
    assert files.isdisjoint({".venv", ".local", ".git"})


def test_a_tracked_file_that_is_ignored_is_found(tmp_path: Path) -> None:
    """A checkout of it would replace what lies there: git keeps no ignored file."""
    (tmp_path / ".gitignore").write_text(".venv\n")
    (tmp_path / ".venv").symlink_to(ROOT)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", ".gitignore"], cwd=tmp_path, check=True)
    assert tracked_and_ignored(tmp_path) == []
    subprocess.run(["git", "add", "--force", ".venv"], cwd=tmp_path, check=True)
    assert tracked_and_ignored(tmp_path) == [".venv"]
