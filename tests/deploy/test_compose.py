"""docker-compose.yml as Compose itself reads it, and the images as deploy/Dockerfile builds them.

No test needs a Docker daemon.
"""

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from deploy.local.programs import TENANT
from deploy.local.stack import LocalStack
from deploy.local.system import DRAIN_SECONDS, System
from scenarios.topic_table import read_topic_table
from services.mail_ingest.settings import IngestSettings
from services.matcher.settings import MatcherSettings
from services.tracking.settings import TrackingSettings
from shared.settings import EnvironmentSettings, KafkaSettings, load_settings, variable_name
from simulator import sample_company
from simulator.control.client import Simulator
from simulator.settings import NAMES as SIMULATOR_SETTINGS
from simulator.settings import from_environment

ROOT = Path(__file__).parents[2]
COMPOSE = Path(sys.executable).parent / "docker-compose"
TRIAL = ROOT / "deploy/simulator.env"
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()

SETTINGS: dict[str, type[EnvironmentSettings]] = {
    "topics": KafkaSettings,
    "mail-ingest": IngestSettings,
    "matcher": MatcherSettings,
    "tracking": TrackingSettings,
}
FOREIGN = {"kafka", "mongodb"}
OWN = {
    "MAIL_INGEST_WEBHOOK_URL": "https://capture.example.com",
    "MAIL_INGEST_CLIENT_ID": "one",
    "MAIL_INGEST_CLIENT_SECRET": "two",
    "TRACKING_AUDIENCE": "three",
    "TRACKING_TENANTS": '["four"]',
    "SERVICE_TOKEN": "sixteen characters and more",
}
"""The required settings for a tenant of Microsoft 365."""

Config = dict[str, Any]


def compose(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `docker-compose config` with these variables only."""
    return subprocess.run(
        [
            COMPOSE,
            "--project-directory",
            ROOT,
            "--file",
            ROOT / "docker-compose.yml",
            *arguments,
            "config",
            "--format=json",
        ],
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
        check=False,
    )


def read_services(env: dict[str, str], *arguments: str) -> dict[str, Config]:
    """Return the services that Compose reads, by name."""
    ran = compose(env, *arguments)
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout)["services"])


@pytest.fixture(scope="module")
def trial() -> dict[str, Config]:
    """The services of the command with the simulator."""
    return read_services({}, f"--env-file={TRIAL}")


@pytest.fixture(scope="module")
def own() -> dict[str, Config]:
    """The services with a tenant of Microsoft 365."""
    return read_services(OWN, "--env-file=/dev/null")


def environment_of(service: Config) -> dict[str, str]:
    """Return the environment variables of a container."""
    return {name: value for name, value in service["environment"].items() if value is not None}


# -- settings -------------------------------------------------------------------------------------


def test_documents_name_the_same_command(trial: dict[str, Config]) -> None:
    command = "docker compose --env-file deploy/simulator.env up --build"
    for document in ("README.md", "docker-compose.yml", "deploy/simulator.env"):
        assert command in (ROOT / document).read_text(), document
    readme = (ROOT / "README.md").read_text()
    ports = [port["published"] for name in ("tracking", "simulator") for port in trial[name]["ports"]]
    assert [port for port in ports if f"http://127.0.0.1:{port}" not in readme] == []
    assert sample_company.ANN.name in readme


def test_profile_adds_only_the_simulator(trial: dict[str, Config], own: dict[str, Config]) -> None:
    assert own.keys() == {"kafka", "mongodb", "topics", "mail-ingest", "matcher", "tracking"}
    assert trial.keys() - own.keys() == {"simulator", "port-forwarder", "company"}
    with_profile = read_services(OWN, "--env-file=/dev/null", "--profile=simulator")
    assert with_profile.keys() == trial.keys()


@pytest.mark.parametrize("name", SETTINGS)
def test_every_variable_of_a_service_is_one_of_its_settings(name: str, trial: dict[str, Config]) -> None:
    assert trial[name]["environment"].keys() - variables_of(SETTINGS[name]) == set()


def variables_of(model: type[EnvironmentSettings]) -> set[str]:
    return {variable_name(model, field) for field in model.model_fields}


def test_every_variable_of_the_simulator_is_one_of_its_settings(trial: dict[str, Config]) -> None:
    assert set(trial["simulator"]["environment"]) <= SIMULATOR_SETTINGS
    assert from_environment(environment_of(trial["simulator"])).tenant == TENANT


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("whose", ["trial", "own"])
def test_each_service_accepts_its_settings(
    name: str, whose: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in variables_of(SETTINGS[name]):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment_of(request.getfixturevalue(whose)[name]).items():
        monkeypatch.setenv(variable, value)
    load_settings(SETTINGS[name])


@pytest.mark.parametrize("missing", OWN)
def test_missing_setting_is_reported_with_its_meaning(missing: str) -> None:
    ran = compose({name: value for name, value in OWN.items() if name != missing}, "--env-file=/dev/null")
    assert ran.returncode != 0
    assert re.search(rf"required variable {missing} is missing a value: \w+ .* \w+", ran.stderr)


@pytest.mark.parametrize("place", ["/run/secrets/client.pem", "client.pem"])
def test_certificate_replaces_the_secret(place: str) -> None:
    pem = ROOT / place
    certificate = {"MAIL_INGEST_CLIENT_SECRET": "", "MAIL_INGEST_CLIENT_CERTIFICATE": place}
    mail_ingest = read_services({**OWN, **certificate}, "--env-file=/dev/null")["mail-ingest"]
    variables = environment_of(mail_ingest)
    assert variables["MAIL_INGEST_CLIENT_SECRET"] == ""
    assert variables["MAIL_INGEST_CLIENT_CERTIFICATE"] in mounted_from(pem, mail_ingest)


def test_rules_file_is_mounted() -> None:
    matcher = read_services({**OWN, "MATCHER_RULES_FILE": "rules.toml"}, "--env-file=/dev/null")["matcher"]
    assert environment_of(matcher)["MATCHER_RULES_FILE"] in mounted_from(ROOT / "rules.toml", matcher)


def mounted_from(source: Path, service: Config) -> set[str]:
    """Return the paths in the container at which a file of this machine is mounted."""
    return {mount["target"] for mount in service["volumes"] if mount["source"] == str(source)}


def test_services_have_the_addresses_of_each_other(trial: dict[str, Config], own: dict[str, Config]) -> None:
    for config in (trial, own):
        mail_ingest, tracking = environment_of(config["mail-ingest"]), environment_of(config["tracking"])
        assert tracking["TRACKING_MAIL_INGEST_URL"] == f"http://mail-ingest:{mail_ingest['PORT']}"
        assert tracking["SERVICE_TOKEN"] == mail_ingest["SERVICE_TOKEN"]
        bootstrap = environment_of(config["matcher"])["KAFKA_BOOTSTRAP_SERVERS"]
        assert environment_of(config["kafka"])["KAFKA_ADVERTISED_LISTENERS"] == f"PLAINTEXT://{bootstrap}"
    simulator = from_environment(environment_of(trial["simulator"]))
    assert environment_of(trial["mail-ingest"])["MAIL_INGEST_GRAPH_URL"] == f"{simulator.base_url}/v1.0"
    for name in ("mail-ingest", "tracking"):
        assert environment_of(trial[name])["AUTHORITY_URL"] == simulator.base_url
        assert environment_of(trial[name])["AUTHORITY_CA_FILE"] == f"{simulator.folder}/ca.pem"
        assert (str(simulator.folder), "simulator") in {
            (mount["target"], mount["source"]) for mount in trial[name]["volumes"]
        }
    host = httpx2.URL(simulator.base_url).host
    assert trial["simulator"]["networks"]["outside"]["aliases"] == [host]


# -- ports and networks ---------------------------------------------------------------------------


def test_ports_match_the_architecture_page(trial: dict[str, Config]) -> None:
    rows = re.findall(
        r"^\| ([a-z-]+) \| (\d+) \| `(\w+)` \|", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE
    )
    assert len(rows) == 6
    for name, port, setting in rows:
        listening = environment_of(trial[name])[setting]  # a port, or host:port
        assert listening.rpartition(":")[2] == port, f"{setting} of {name}"


def test_only_page_and_webhook_are_published_and_on_this_machine_alone(
    trial: dict[str, Config], own: dict[str, Config]
) -> None:
    def published(config: dict[str, Config]) -> set[tuple[str, str, int]]:
        ports = [(name, port) for name, service in config.items() for port in service.get("ports", [])]
        assert {port["host_ip"] for _, port in ports} == {"127.0.0.1"}
        return {(name, port["published"], port["target"]) for name, port in ports}

    assert published(own) == {("tracking", "18083", 18083), ("mail-ingest", "18080", 18080)}
    ((name, published_port, container_port),) = published(trial) - published(own)
    for_browsers = httpx2.URL(environment_of(trial["tracking"])["TRACKING_BROWSER_AUTHORITY_URL"])
    assert (name, published_port) == ("simulator", str(for_browsers.port))
    mail_ingest = environment_of(trial["mail-ingest"])
    webhook = httpx2.URL(mail_ingest["MAIL_INGEST_WEBHOOK_URL"]).netloc.decode()
    webhook_port = mail_ingest["MAIL_INGEST_WEBHOOK_LISTEN"].rpartition(":")[2]
    browser_listen = environment_of(trial["simulator"])["SIMULATOR_BROWSER_LISTEN"]
    assert trial["port-forwarder"]["command"] == [
        f"0.0.0.0:{container_port}={browser_listen}",
        f"{webhook}=mail-ingest:{webhook_port}",
    ]


def test_only_services_with_external_clients_or_servers_are_on_the_outer_network(
    trial: dict[str, Config],
) -> None:
    config = json.loads(compose({}, f"--env-file={TRIAL}").stdout)
    assert config["networks"]["inside"]["internal"] is True
    assert {name for name, service in trial.items() if "outside" in service.get("networks", {})} == {
        "mail-ingest",
        "tracking",
        "simulator",
        "company",
    }


# -- containers -----------------------------------------------------------------------------------


def test_each_of_our_containers_is_hardened_and_has_time_to_drain(trial: dict[str, Config]) -> None:
    for name in trial.keys() - FOREIGN:
        service = trial[name]
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["tmpfs"] == ["/tmp"], name
        assert service["init"] is True, name
        assert "privileged" not in service, name
        assert "user" not in service, "the image sets the user"
        assert seconds(service["stop_grace_period"]) > DRAIN_SECONDS, name
        assert service["restart"] == (
            "on-failure:5" if name in {"topics", "company"} else "unless-stopped"
        ), name
    for name in FOREIGN:
        assert trial[name]["security_opt"] == ["no-new-privileges:true"]
        assert trial[name]["restart"] == "unless-stopped"


def seconds(duration: str) -> float:
    found = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", duration)
    assert found
    return timedelta(minutes=int(found[1] or 0), seconds=int(found[2] or 0)).total_seconds()


def test_each_dependency_has_a_health_check_or_ends(trial: dict[str, Config]) -> None:
    for name, service in trial.items():
        for other, how in service.get("depends_on", {}).items():
            match how["condition"]:
                case "service_healthy":
                    assert trial[other]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}, (
                        f"{name} waits for {other}"
                    )
                case "service_completed_successfully":
                    assert trial[other]["restart"].startswith("on-failure"), f"{name} waits for {other}"
                case condition:
                    assert (name, other, condition) == ("company", "port-forwarder", "service_started")
    for name in ("mail-ingest", "matcher", "tracking", "simulator"):
        assert "/health/live" in trial[name]["healthcheck"]["test"][-1]


def test_data_are_in_volumes(trial: dict[str, Config]) -> None:
    volumes = {
        name: {
            (mount["source"], mount["target"])
            for mount in service.get("volumes", [])
            if mount["type"] == "volume"
        }
        for name, service in trial.items()
    }
    assert ("kafka", environment_of(trial["kafka"])["KAFKA_LOG_DIRS"]) in volumes["kafka"]
    assert ("mongodb", "/data/db") in volumes["mongodb"]


def test_each_mounted_file_is_in_the_repository(trial: dict[str, Config]) -> None:
    mounted = {
        Path(mount["source"])
        for service in trial.values()
        for mount in service.get("volumes", [])
        if mount["type"] == "bind"
    }
    assert mounted
    assert [path for path in mounted if not path.is_file() or ROOT not in path.parents] == []


# -- the images -----------------------------------------------------------------------------------

STAGE = re.compile(r"^FROM (\S+)(?: AS (\S+))?$(.*?)(?=^FROM |\Z)", re.MULTILINE | re.DOTALL)
STAGES = {name or "": (base, body) for base, name, body in STAGE.findall(DOCKERFILE)}
PROGRAMS = sorted(name for name, (_, body) in STAGES.items() if "ENTRYPOINT" in body)


def copied(stage: str) -> Iterator[tuple[str, str]]:
    """Yield source and target of each path that a stage, or a stage below it, copies from the repository."""
    while stage in STAGES:
        stage, body = STAGES[stage]
        yield from re.findall(r"^COPY (?!--)(\S+) (\S+)$", body, re.MULTILINE)


def entrypoint(stage: str) -> list[str]:
    (exec_form,) = re.findall(r"^ENTRYPOINT (\[.*\])$", STAGES[stage][1], re.MULTILINE)
    return list(json.loads(exec_form))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each program a folder with the files of the repository that its image contains."""
    folders = {}
    for program in PROGRAMS:
        folders[program] = folder = tmp_path_factory.mktemp(program)
        for source, target in copied(program):
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, folder / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, folder / target)
    return folders


def test_each_program_has_an_image(trial: dict[str, Config]) -> None:
    built = {service["build"]["args"]["SERVICE"] for service in trial.values() if "build" in service}
    requirements = {path.stem for path in (ROOT / "requirements").glob("*.txt")} - {"dev"}
    assert set(PROGRAMS) == built == requirements == {*SETTINGS.keys() - {"topics"}, "simulator"}
    assert {name for name, service in trial.items() if "build" not in service} == FOREIGN


def test_foreign_images_are_pinned_by_version(trial: dict[str, Config]) -> None:
    pinned = re.compile(r"(apache/kafka|mongo):\d+\.\d+\.\d+")
    assert [
        trial[name]["image"] for name in sorted(FOREIGN) if not pinned.fullmatch(trial[name]["image"])
    ] == []
    [python] = re.findall(r"^ARG PYTHON=(.*)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"3\.\d+\.\d+-slim-[a-z]+", python)
    assert {base for base, _ in STAGES.values()} <= {"python:${PYTHON}", "${SERVICE}", *STAGES}


def test_images_run_as_an_unprivileged_user() -> None:
    last = list(STAGES)[-1]
    assert last == "", "the last stage has no name"
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert "USER 10001:10001" in STAGES[last][1]
    assert "--require-hashes" in STAGES["installed"][1]


IMPORT_ALL = """
import importlib, json, pkgutil, re, sys
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions

pinned, packages, left_out = json.load(sys.stdin)
of = packages_distributions()

class Installed(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in of and not any(re.sub("[-_.]+", "-", each).lower() in pinned for each in of[top]):
            return None  # as for an absent package: a library may also check whether a package is there
        return super().find_spec(name, path, target)

sys.meta_path = [Installed if finder is PathFinder else finder for finder in sys.meta_path]
for package in packages:
    found = importlib.import_module(package)
    for module in pkgutil.walk_packages(getattr(found, "__path__", []), package + "."):
        if module.name not in left_out:
            importlib.import_module(module.name)
assert not sys.modules.keys() & set(left_out), "the program imports a module that is left out"
"""
"""Imports these packages with all their modules, as if only the pinned distributions were installed."""

LEFT_OUT = {"matcher": ["shared.mongodb"]}
"""Modules of `shared` that a program does not use, and whose packages its image therefore lacks."""


@pytest.mark.parametrize("program", PROGRAMS)
def test_image_has_all_files_and_packages_that_its_program_imports(
    program: str, images: dict[str, Path]
) -> None:
    _, _, module = entrypoint(program)
    packages = ["shared", module] if program != "simulator" else [module]
    pinned = re.findall(
        r"^([\w.-]+?)(?:\[\S*\])?==", (ROOT / f"requirements/{program}.txt").read_text(), re.MULTILINE
    )
    ran = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL],
        cwd=images[program],
        env={},
        input=json.dumps([[normalized(name) for name in pinned], packages, LEFT_OUT.get(program, [])]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("program", PROGRAMS)
def test_image_starts_its_program(program: str, images: dict[str, Path]) -> None:
    python, *arguments = entrypoint(program)
    assert python == "python"
    setting = "SIMULATOR_LISTEN" if program == "simulator" else "PORT"
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=images[program],
        env={setting: "none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, setting in ran.stderr) == (2, True), ran.stderr


def test_image_contains_the_command_that_creates_topics(
    trial: dict[str, Config], images: dict[str, Path]
) -> None:
    python, *arguments = trial["topics"]["entrypoint"] + trial["topics"]["command"]
    assert python == "python"
    image = images[trial["topics"]["build"]["args"]["SERVICE"]]
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=image,
        env={"KAFKA_REPLICATION": "none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, "KAFKA_REPLICATION" in ran.stderr) == (2, True), ran.stderr


def test_build_context_has_only_copied_paths() -> None:
    lines = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert lines[0] == "*", "everything is excluded, except the lines below"
    included = {line.removeprefix("!") for line in lines if line.startswith("!")}
    sources = [source for stage in (*PROGRAMS, "installed") for source, _ in copied(stage)]
    assert included == {source.partition("/")[0] for source in sources}


# -- programs for the trial with the simulator ----------------------------------------------------


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def test_port_forwarder_copies_both_ways_and_survives_an_absent_target() -> None:
    async def answer_in_capitals(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())  # reads until the other side has ended
        writer.close()

    target = await asyncio.start_server(answer_in_capitals, "127.0.0.1", 0)
    forwarded, without_target = free_port(), free_port()
    routes = [
        f"127.0.0.1:{forwarded}=127.0.0.1:{target.sockets[0].getsockname()[1]}",
        f"127.0.0.1:{without_target}=127.0.0.1:{free_port()}",
    ]
    forwarder = await asyncio.create_subprocess_exec(
        sys.executable, ROOT / "deploy/compose/port_forwarder.py", *routes, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(2):
            reader, writer = await connect(without_target)
            assert await reader.read() == b""
            writer.close()
            reader, writer = await connect(forwarded)
            writer.write(b"a" * 1_000_000)
            writer.write_eof()
            assert await reader.read() == b"A" * 1_000_000
            writer.close()
    finally:
        forwarder.terminate()
        await forwarder.wait()
        target.close()


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a server that may still be starting."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)


async def test_company_script_can_run_again(
    stack: LocalStack, tmp_path: Path, topic_prefix: str, mongodb_database: str, trial: dict[str, Config]
) -> None:
    assert mongodb_database.startswith(topic_prefix)
    company = tmp_path / "company"
    company.mkdir()
    for mount in trial["company"]["volumes"]:
        if mount["type"] == "bind":
            assert Path(mount["target"]).parent == Path("/company")
            shutil.copy(mount["source"], company)
    with System(stack, tmp_path, prefix=topic_prefix, env={"KAFKA_PARTITIONS": "2"}) as system:
        system.start("simulator", "mail-ingest")
        variables = {
            "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap,
            "MAIL_INGEST_URL": system["mail-ingest"].url,
            "SERVICE_TOKEN": system.service_token,
            "SIMULATOR_URL": system.simulator,
            "AUTHORITY_CA_FILE": str(system.ca),
            "TENANT": TENANT,
        }
        assert variables.keys() == trial["company"]["environment"].keys()
        results = []
        for _ in range(2):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                company / "company.py",
                env={**variables, "TOPIC_PREFIX": topic_prefix},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            printed, _ = await process.communicate()
            assert process.returncode == 0, printed.decode()
            enrolled = httpx2.get(
                f"{variables['MAIL_INGEST_URL']}/mailboxes",
                headers={"Authorization": f"Bearer {variables['SERVICE_TOKEN']}"},
                trust_env=False,
            ).json()
            records, _ = await read_topic_table(stack.kafka_bootstrap, f"{topic_prefix}records")
            results.append(
                (
                    {mailbox["mailbox"] for mailbox in enrolled},
                    {key: json.loads(value) for key, (value, _) in records.items()},
                )
            )
        client = Simulator(system.simulator, system.ca)
        people = {user["oid"]: user["name"] for user in client.tenant(TENANT).show()["users"]}
        client.close()
    mailboxes, published = results[0]
    assert results[1] == results[0]
    assert people.keys() == mailboxes
    assert set(people.values()) == {person.name for person in sample_company.SELLERS}
    assert published == {
        f"{record['tenant']}/{record['type']}/{record['id']}".encode(): record
        for record in sample_company.records(TENANT)
    }
