"""README and the guides name only what exists: commands that a test runs, settings, reasons, permissions."""

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
from services.mail_ingest.domain.mass_loss import NOT_FOUND_AT_ONCE
from services.mail_ingest.domain.retries import BlockReason
from services.mail_ingest.domain.subscriptions import LIFECYCLE_PATH, NOTIFICATION_PATH
from services.mail_ingest.graph.errors import FailureReason
from services.matcher.rules_file import load_rules
from services.tracking.signin import ADMIN_ROLE, SCOPE
from shared.settings import FILE_SUFFIX, EnvironmentSettings, is_secret, variable_name
from simulator.settings import NAMES as SIMULATOR_SETTINGS
from simulator.state.tenants import CAPTURE_ROLES
from tests.support.guides import PAGES, ROOT, Block, blocks, scripts

MAKE_TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

RUN_AS_A_WHOLE = {
    "docs/publishing-records.md": "tests/end_to_end/test_guides.py::test_guide_publishes_records",
    "docs/reading-tracked-activities.md": (
        "tests/end_to_end/test_guides.py::test_guide_builds_a_table_of_tracked_activities"
    ),
}
"""Pages of which a test runs every command, one after another."""
CERTIFICATE = (
    "tests/contract/test_guides.py::test_certificate_of_the_guide_has_the_form_that_mail_ingest_reads"
)
ENROL = "tests/end_to_end/test_guides.py::test_guide_enrols_the_first_mailbox"
NEWCOMER = "tests/contract/test_guides.py::test_newcomer_can_add_the_rule_of_the_guide"
OWN_ARCHIVE = (
    "tests/end_to_end/test_own_archive.py::test_demo_of_own_archive_shows_each_owner_the_suggestions"
)
RUN_BY = {
    ("README.md", "make demo"): "tests/end_to_end/test_guides.py::test_demo_plays_its_story",
    ("README.md", "make test"): ".ci/run",
    ("docs/own-archive.md", "make demo MAIL="): OWN_ARCHIVE,
    ("docs/matching.md", "make test ARGS="): NEWCOMER,
    ("docs/connecting-a-tenant.md", "openssl req"): CERTIFICATE,
    ("docs/connecting-a-tenant.md", "cat key.pem"): CERTIFICATE,
    ("docs/connecting-a-tenant.md", "chmod 600"): CERTIFICATE,
    ("docs/connecting-a-tenant.md", "python -m services.mail_ingest mailboxes enrol"): ENROL,
    ("docs/connecting-a-tenant.md", "python -m services.mail_ingest mailboxes list"): ENROL,
}
"""Page and beginning of each further command in a fenced block -> the test or script that runs it."""

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
"""Pages that explain settings."""
NAMES_IN_CODE = {
    "ADDRESSES",
    "ANN",
    "CONTACT_SECTION",
    "CUSTOM",
    "EMAIL",
    "GOLDEN",
    "MAX_SUGGESTIONS_PER_TIMELINE",
    "OPPORTUNITY",
    "RULE_TABLE",
}
"""Names in capitals that are no settings."""
HTTP_METHODS = {"GET", "POST", "PUT", "DELETE"}


def commands(block: Block) -> Iterator[str]:
    """Yield the commands of a block, one for each line."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if block.language != "console" or line.startswith("$ "):
            command = line.removeprefix("$ ").strip()
            if command and not command.startswith("#"):
                yield command


def inline_code(page: str) -> list[str]:
    """Return the code within the sentences of a page."""
    without_blocks = re.sub(r"^```.*?^```", "", PAGES[page].read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", without_blocks)


def all_code(page: str) -> str:
    """Return the code within the sentences and in the blocks of a page."""
    return "\n".join([*inline_code(page), *(block.text for block in blocks(PAGES[page].read_text()))])


def python_commands() -> dict[tuple[str, ...], set[str]]:
    """Return each command `python -m …` of all pages: module and subcommands -> its options."""
    found: dict[tuple[str, ...], set[str]] = {}
    for page in PAGES:
        for command in re.findall(r"python -m ([^|>;&\n]+)", all_code(page)):
            module, *arguments = command.split()
            subcommands = list(_while_matching(re.compile(r"[a-z_]+"), arguments))
            found.setdefault((module, *subcommands), set()).update(re.findall(r"--[a-z-]+", command))
    return found


def _while_matching(pattern: re.Pattern[str], arguments: list[str]) -> Iterator[str]:
    for argument in arguments:
        if not pattern.fullmatch(argument):
            return
        yield argument


# -- commands -------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_fenced_blocks_are_run_by_a_test_or_by_ci(page: str) -> None:
    on_page = [command for block in scripts(page) for command in commands(block)]
    known = [start for of_page, start in RUN_BY if of_page == page]
    if page not in RUN_AS_A_WHOLE:
        without_runner = [command for command in on_page if not command.startswith(tuple(known))]
        assert without_runner == [], "add the test that runs it to RUN_BY"
    unused = [start for start in known if not any(command.startswith(start) for command in on_page)]
    assert unused == [], "the page does not have this command any more"


@pytest.mark.parametrize("runner", sorted({*RUN_AS_A_WHOLE.values(), *RUN_BY.values()}))
def test_runners_of_the_commands_exist(runner: str) -> None:
    file, _, test = runner.partition("::")
    text = (ROOT / file).read_text()
    for command in [command for (_, command), by in RUN_BY.items() if by == runner == file]:
        assert re.search(rf"^{command}$", text, re.MULTILINE), f"{file} does not run {command}"
    if test:
        assert f"def {test}(" in text
        for page in [page for page, by in RUN_AS_A_WHOLE.items() if by == runner]:
            assert page in text


@pytest.mark.parametrize("page", PAGES)
def test_named_make_commands_exist(page: str) -> None:
    assert set(re.findall(r"^(?:\$ )?make ([a-z][a-z-]*)", all_code(page), re.MULTILINE)) <= MAKE_TARGETS


@pytest.mark.parametrize("command", sorted(python_commands()), ids=" ".join)
def test_named_python_commands_exist_with_their_options(command: tuple[str, ...]) -> None:
    assert command[0].partition(".")[0] in {"deploy", "scenarios", "services", "shared", "simulator"}
    run = [sys.executable, "-m", *command, "--help"]
    ran = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert python_commands()[command] <= set(re.findall(r"--[a-z-]+", ran.stdout))


# -- settings, reasons, permissions ---------------------------------------------------------------


def variables(model: type[EnvironmentSettings]) -> Iterator[str]:
    """Yield the environment variables of a settings class, with those that name files of secrets."""
    for field_name, field in model.model_fields.items():
        name = variable_name(model, field_name)
        yield name
        if is_secret(field):
            yield name + FILE_SUFFIX


@pytest.mark.parametrize("page", GUIDES)
def test_named_settings_exist(page: str) -> None:
    settings = {name for _, model, _ in SETTINGS for name in variables(model)} | SIMULATOR_SETTINGS
    name = re.compile(r"([A-Z][A-Z0-9_]+[A-Z0-9])(?:=.*)?")  # not a prefix, such as TRACKING_
    in_capitals = [name.fullmatch(code) for code in inline_code(page)]
    named = {match[1] for match in in_capitals if match}
    assert named - settings - NAMES_IN_CODE - HTTP_METHODS == set()


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
def test_matching_page_explains_the_matchers_settings(setting: str) -> None:
    assert setting in inline_code("docs/matching.md")


def test_tenant_guide_explains_every_required_setting() -> None:
    required = {
        "MAIL_INGEST_CLIENT_ID",
        "MAIL_INGEST_CLIENT_SECRET",
        "MAIL_INGEST_CLIENT_CERTIFICATE",
        "MAIL_INGEST_WEBHOOK_URL",
        "MAIL_INGEST_WEBHOOK_LISTEN",
        "TRACKING_AUDIENCE",
        "TRACKING_TENANTS",
        "SERVICE_TOKEN",
        "TRACKING_MAIL_INGEST_URL",
    }
    assert required - set(inline_code("docs/connecting-a-tenant.md")) == set()


def test_tenant_guide_explains_every_reason_of_a_blocked_mailbox_and_of_a_stuck_item() -> None:
    reasons = {reason.value for reason in (*BlockReason, *FailureReason)} | {NOT_FOUND_AT_ONCE}
    for file in (ROOT / "services/mail_ingest").rglob("*.py"):
        reasons |= set(re.findall(r'MailboxBlockedError\(\s*"(\w+)"', file.read_text()))
    rows = re.findall(
        r"^\| (`[a-z_0-9`, …]+`?.*?) \| ", PAGES["docs/connecting-a-tenant.md"].read_text(), re.MULTILINE
    )
    explained = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}
    assert explained == reasons


def test_tenant_guide_names_the_required_permissions_and_paths() -> None:
    rows = re.findall(
        r"^\| `(\w+\.Read[\w.]*)` \|", PAGES["docs/connecting-a-tenant.md"].read_text(), re.MULTILINE
    )
    assert rows == list(CAPTURE_ROLES)
    named = set(inline_code("docs/connecting-a-tenant.md"))
    assert {SCOPE, ADMIN_ROLE, NOTIFICATION_PATH, LIFECYCLE_PATH} <= named
    assert {path for path in named if path.startswith("/graph/")} == {NOTIFICATION_PATH, LIFECYCLE_PATH}


@pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl is not installed: apt-get install openssl"
)
def test_certificate_of_the_guide_has_the_form_that_mail_ingest_reads(tmp_path: Path) -> None:
    [block] = [block for block in scripts("docs/connecting-a-tenant.md") if "openssl" in block.text]
    subprocess.run(["bash", "-euc", block.text], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    file = tmp_path / "client.pem"
    pem = file.read_bytes()  # graph/tokens.py passes it to msal: the private key and the certificate
    key, certificate = load_pem_private_key(pem, None), x509.load_pem_x509_certificate(pem)
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    assert key.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)
    assert file.stat().st_mode & 0o077 == 0


def test_rules_file_of_the_matching_page_is_valid(tmp_path: Path) -> None:
    [example] = [
        block.text for block in blocks(PAGES["docs/matching.md"].read_text()) if block.language == "toml"
    ]
    file = tmp_path / "rules.toml"
    file.write_text(example)
    active = {rule.name for rule in load_rules(file).rows}
    content = tomllib.loads(example)
    assert {rule["name"] for rule in content["rule"]} <= active
    assert content["off"]
    assert not set(content["off"]) & active


@pytest.mark.timeout(300)  # runs a part of the law, on a machine that may be busy
def test_newcomer_can_add_the_rule_of_the_guide(tmp_path: Path) -> None:
    for folder in ("services", "shared", "deploy", "tests/matcher", "tests/support"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    for file in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / file, tmp_path / file)
    page = list(blocks(PAGES["docs/matching.md"].read_text()))
    pasted = 0
    for block in page:
        if target := re.match(r"# (\S+), above: (.+)\n", block.text):
            paste(block, tmp_path / target[1], above=target[2])
            pasted += 1
    assert pasted == 4

    [arguments] = [re.search(r'ARGS="(.+)"', block.text) for block in page if block.language == "sh"]
    assert arguments
    # Without the tests of the law that compare the two readings: the others compare each with the oracle.
    options = ["-q", "-p", "no:cacheprovider", "-k", "not backward_reading and not change_affects"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *arguments[1].split()],
        cwd=tmp_path,
        env=os.environ | {"CI": ""},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:]


def paste(block: Block, file: Path, above: str) -> None:
    """Paste a block, without its first line, above the only line of a file that begins with this text."""
    lines = file.read_text().splitlines()
    [number] = [number for number, line in enumerate(lines) if line.strip().startswith(above)]
    indent = " " * (len(lines[number]) - len(lines[number].lstrip()))
    lines[number:number] = [indent + line for line in block.text.splitlines()[1:]]
    file.write_text("\n".join(lines) + "\n")
