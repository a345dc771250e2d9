"""README and the guides tell of what is there: commands that something runs, doors, settings, reasons, permissions."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from docs.generate import SETTINGS
from services.mail_ingest.domain import standing
from services.mail_ingest.graph import BLOCKS
from services.matcher.rules_file import load_rules
from services.tracking.signin import ADMIN_ROLE, SCOPE
from simulator.state.tenants import CAPTURE_ROLES
from tests.support.guides import PAGES, ROOT, Block, blocks, scripts

DOORS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

WHOLE = {
    "docs/publishing-records.md": "tests/end_to_end/test_guides.py::test_who_publishes_records_does_it_by_the_guide",
    "docs/reading-tracked-activities.md": "tests/end_to_end/test_guides.py::test_a_dashboard_reads_by_the_guide",
}
"""Pages of which a test runs every command, one after the other."""
CERTIFICATE = "tests/contract/test_guides.py::test_the_certificate_of_the_guide_is_one_that_mail_ingest_takes"
ENROL = "tests/end_to_end/test_guides.py::test_the_first_mailbox_is_enrolled_by_the_guide"
NEWCOMER = "tests/contract/test_guides.py::test_a_newcomer_adds_the_rule_of_the_page"
RUN_BY = {
    ("README.md", "make demo"): "tests/end_to_end/test_guides.py::test_the_demo_tells_its_story",
    ("README.md", "make test"): ".ci/run",
    (
        "docs/own-archive.md",
        "make demo MAIL=",
    ): "tests/end_to_end/test_own_archive.py::test_each_suggestion_is_on_its_owner_s_timeline_and_the_terminal_says_where_to_look_first",
    ("docs/matching.md", "make test ARGS="): NEWCOMER,
    ("docs/connecting-a-tenant.md", "openssl req"): CERTIFICATE,
    ("docs/connecting-a-tenant.md", "cat key.pem"): CERTIFICATE,
    ("docs/connecting-a-tenant.md", "chmod 600"): CERTIFICATE,
    ("docs/connecting-a-tenant.md", "python -m services.mail_ingest mailboxes enrol"): ENROL,
    ("docs/connecting-a-tenant.md", "python -m services.mail_ingest mailboxes list"): ENROL,
}
"""Page and beginning of each further command in a fenced block -> what runs it."""

GUIDES = [
    "README.md",
    *(
        f"docs/{name}.md"
        for name in (
            "architecture",
            "connecting-a-tenant",
            "matching",
            "publishing-records",
            "reading-tracked-activities",
            "scaling",
        )
    ),
]
"""Pages that tell what to set."""
NAMES_IN_CODE = {"ADDRESSES", "ANN", "CONTACT_SECTION", "CUSTOM", "EMAIL", "GOLDEN", "OPPORTUNITY", "RULE_TABLE"}
"""What is written in capitals and is no setting."""
HTTP = {"GET", "POST", "PUT", "DELETE"}


def commands(block: Block) -> Iterator[str]:
    """The commands of a block, one a line."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if block.language != "console" or line.startswith("$ "):
            command = line.removeprefix("$ ").strip()
            if command and not command.startswith("#"):
                yield command


def inline(page: str) -> list[str]:
    """All that stands on a page as code within its sentences."""
    return re.findall(
        r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", PAGES[page].read_text(), flags=re.MULTILINE | re.DOTALL)
    )


def code(page: str) -> str:
    """The same, and all that stands in its blocks."""
    return "\n".join([*inline(page), *(block.text for block in blocks(PAGES[page].read_text()))])


def modules() -> dict[tuple[str, ...], set[str]]:
    """Every command `python -m …` that any page names: module and subcommands -> its options."""
    found: dict[tuple[str, ...], set[str]] = {}
    for page in PAGES:
        for command in re.findall(r"python -m ([^|>;&\n]+)", code(page)):
            module, *words = command.split()
            subcommands = list(_while(re.compile(r"[a-z_]+"), words))
            found.setdefault((module, *subcommands), set()).update(re.findall(r"--[a-z-]+", command))
    return found


def _while(pattern: re.Pattern[str], words: list[str]) -> Iterator[str]:
    for word in words:
        if not pattern.fullmatch(word):
            return
        yield word


# -- every command is run by something ------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_every_command_in_a_fenced_block_is_run_by_a_test_or_by_ci(page: str) -> None:
    asked = [command for block in scripts(page) for command in commands(block)]
    known = [start for of, start in RUN_BY if of == page]
    if page not in WHOLE:
        assert [command for command in asked if not command.startswith(tuple(known))] == [], (
            "name in RUN_BY what runs it"
        )
    assert [start for start in known if not any(command.startswith(start) for command in asked)] == [], (
        "nobody asks for it any more"
    )


@pytest.mark.parametrize("runner", sorted({*WHOLE.values(), *RUN_BY.values()}))
def test_what_runs_them_is_there(runner: str) -> None:
    file, _, test = runner.partition("::")
    text = (ROOT / file).read_text()
    for command in [command for (_, command), by in RUN_BY.items() if by == runner == file]:
        assert re.search(rf"^{command}$", text, re.MULTILINE), f"{file} does not run {command}"
    if test:
        assert f"def {test}(" in text
        for page in [page for page, by in WHOLE.items() if by == runner]:
            assert page in text


@pytest.mark.parametrize("page", PAGES)
def test_every_door_that_is_named_is_in_the_makefile(page: str) -> None:
    assert set(re.findall(r"^(?:\$ )?make ([a-z][a-z-]*)", code(page), re.MULTILINE)) <= DOORS


@pytest.mark.parametrize("command", sorted(modules()), ids=" ".join)
def test_every_command_that_is_named_exists_with_its_options(command: tuple[str, ...]) -> None:
    assert command[0].partition(".")[0] in {"services", "shared", "simulator", "scenarios", "deploy"}
    run = [sys.executable, "-m", *command, "--help"]
    ran = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert modules()[command] <= set(re.findall(r"--[a-z-]+", ran.stdout))


# -- settings, reasons, permissions ---------------------------------------------------------------


@pytest.mark.parametrize("page", GUIDES)
def test_every_setting_that_is_named_is_one(page: str) -> None:
    settings = {name.upper() for _, model, _ in SETTINGS for name in model.model_fields}
    of_simulator = set(re.findall(r"`(SIMULATOR_\w+)`", (ROOT / "simulator/settings.py").read_text()))
    named = {
        word[1] for piece in inline(page) if (word := re.fullmatch(r"([A-Z][A-Z0-9_]{2,})(?:=.*)?", piece))
    }
    assert named <= settings | of_simulator | NAMES_IN_CODE | HTTP


@pytest.mark.parametrize(
    "setting",
    [
        "MATCHER_RULES_FILE",
        "MATCHER_RESTORE",
        "MATCHER_FOREIGN_WRITE_CHECK_EVERY",
        "MATCHER_RECORD_QUIET_PERIOD",
        "MATCHER_RECORD_MAX_DELAY",
    ],
)
def test_the_page_of_matching_tells_of_the_matchers_settings(setting: str) -> None:
    assert setting in inline("docs/matching.md")


def test_the_guide_of_tenants_fills_every_setting_that_they_need() -> None:
    needed = {
        "CLIENT_ID",
        "CLIENT_SECRET",
        "CLIENT_CERTIFICATE",
        "WEBHOOK_URL",
        "WEBHOOK_HOST",
        "WEBHOOK_PORT",
        "AUDIENCE",
        "TENANTS",
        "SERVICE_TOKEN",
        "INGEST_URL",
    }
    assert needed <= set(inline("docs/connecting-a-tenant.md"))


def test_the_guide_of_tenants_explains_every_reason_for_which_a_mailbox_is_blocked() -> None:
    rows = re.findall(
        r"^\| (`[a-z_0-9`, …]+`?.*?) \| ", PAGES["docs/connecting-a-tenant.md"].read_text(), re.MULTILINE
    )
    explained = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}
    assert explained == set(BlockReason)


def test_the_guide_of_tenants_names_the_permissions_that_are_used() -> None:
    rows = re.findall(
        r"^\| `(\w+\.Read[\w.]*)` \|", PAGES["docs/connecting-a-tenant.md"].read_text(), re.MULTILINE
    )
    assert rows == list(CAPTURE_ROLES)
    named = set(inline("docs/connecting-a-tenant.md"))
    assert {SCOPE, ADMIN_ROLE} <= named
    paths = {"/graph/notifications", "/graph/lifecycle"}
    assert paths <= named
    assert paths == {NOTIFICATION_PATH, LIFECYCLE_PATH}


@pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl is not installed: apt-get install openssl"
)
def test_the_certificate_of_the_guide_is_one_that_mail_ingest_takes(tmp_path: Path) -> None:
    [block] = [block for block in scripts("docs/connecting-a-tenant.md") if "openssl" in block.text]
    subprocess.run(["bash", "-euc", block.text], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    pem = (
        tmp_path / "client.pem"
    ).read_bytes()  # as `tokens.py` gives it to msal: the key and the certificate
    key, certificate = load_pem_private_key(pem, None), x509.load_pem_x509_certificate(pem)
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    assert key.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)
    assert (tmp_path / "client.pem").stat().st_mode & 0o077 == 0


def test_the_rules_file_on_the_page_of_matching_is_taken(tmp_path: Path) -> None:
    [example] = [
        block.text for block in blocks(PAGES["docs/matching.md"].read_text()) if block.language == "toml"
    ]
    file = tmp_path / "rules.toml"
    file.write_text(example)
    names = {rule.name for rule in load_rules(file).rows}
    said = tomllib.loads(example)
    assert {rule["name"] for rule in said["rule"]} <= names
    assert said["off"]
    assert not set(said["off"]) & names


def test_a_newcomer_adds_the_rule_of_the_page(tmp_path: Path) -> None:
    for part in ("services", "shared", "deploy", "tests/matcher", "tests/support"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / file, tmp_path / file)
    page = list(blocks(PAGES["docs/matching.md"].read_text()))
    added = 0
    for block in page:
        if where := re.match(r"# (\S+), above: (.+)\n", block.text):
            path, lines = tmp_path / where[1], (tmp_path / where[1]).read_text().splitlines()
            [above] = [number for number, line in enumerate(lines) if line.strip().startswith(where[2])]
            indent = re.match(" *", lines[above])[0]  # type: ignore[index]  # it matches anything
            lines[above:above] = [indent + line for line in block.text.splitlines()[1:]]
            path.write_text("\n".join(lines) + "\n")
            added += 1
    assert added == 4

    law = tmp_path / "tests/matcher/test_law.py"  # of a small size: who adds a rule runs it whole
    law.write_text(re.sub(r"max_examples=\d+", "max_examples=8", law.read_text()))
    [asked] = [re.search(r'ARGS="(.+)"', block.text) for block in page if block.language == "sh"]
    assert asked
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *asked[1].split()]
    ran = subprocess.run(
        run,
        cwd=tmp_path,
        env=os.environ | {"CI": ""},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:]
