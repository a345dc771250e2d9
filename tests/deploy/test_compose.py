"""docker-compose.yml as Compose itself reads it, and the images as deploy/Dockerfile makes them; no daemon is asked."""

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
from pydantic_settings import BaseSettings

from deploy.local.stack import LocalStack
from deploy.local.system import DRAIN_SECONDS, TENANT, System
from scenarios.topic_table import read_topic_table
from services.mail_ingest.settings import IngestSettings
from services.matcher.settings import MatcherSettings
from services.tracking.settings import TrackingSettings
from shared.settings import KafkaSettings, load
from simulator import sample_company
from simulator.control.client import Simulator
from simulator.settings import Settings as SimulatorSettings
from simulator.settings import from_environment

ROOT = Path(__file__).parents[2]
COMPOSE = Path(sys.executable).parent / "docker-compose"
TRIAL = ROOT / "deploy/simulator.env"
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()

SETTINGS: dict[str, type[BaseSettings]] = {
    "topics": KafkaSettings,
    "mail-ingest": IngestSettings,
    "matcher": MatcherSettings,
    "tracking": TrackingSettings,
}
FOREIGN = {"kafka", "mongodb"}
OWN = {
    "WEBHOOK_URL": "https://capture.example.com",
    "CLIENT_ID": "one",
    "CLIENT_SECRET": "two",
    "AUDIENCE": "three",
    "TENANTS": '["four"]',
    "SERVICE_TOKEN": "sixteen characters and more",
}
"""What somebody with a tenant of her own must say."""

Config = dict[str, Any]


def compose(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Compose reads the file; of the environment it gets these variables alone."""
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


def services(env: dict[str, str], *arguments: str) -> dict[str, Config]:
    ran = compose(env, *arguments)
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout)["services"])


@pytest.fixture(scope="module")
def trial() -> dict[str, Config]:
    """The services of the one command with the simulator."""
    return services({}, f"--env-file={TRIAL}")


@pytest.fixture(scope="module")
def own() -> dict[str, Config]:
    """The services with a tenant of one's own."""
    return services(OWN, "--env-file=/dev/null")


def given(service: Config) -> dict[str, str]:
    """The variables that a container of it gets."""
    return {name: value for name, value in service["environment"].items() if value is not None}


# -- what is said of the settings -----------------------------------------------------------------


def test_one_command_is_named_everywhere(trial: dict[str, Config]) -> None:
    command = "docker compose --env-file deploy/simulator.env up --build"
    for document in ("README.md", "docker-compose.yml", "deploy/simulator.env"):
        assert command in (ROOT / document).read_text(), document
    readme = (ROOT / "README.md").read_text()
    ports = [port["published"] for name in ("tracking", "simulator") for port in trial[name]["ports"]]
    assert [port for port in ports if f"http://127.0.0.1:{port}" not in readme] == []
    assert sample_company.ANN.name in readme


def test_the_simulator_is_a_profile_and_nothing_else_differs(
    trial: dict[str, Config], own: dict[str, Config]
) -> None:
    assert own.keys() == {"kafka", "mongodb", "topics", "mail-ingest", "matcher", "tracking"}
    assert trial.keys() - own.keys() == {"simulator", "door", "company"}
    by_word = services(OWN, "--env-file=/dev/null", "--profile=simulator")
    assert by_word.keys() == trial.keys()


@pytest.mark.parametrize("name", SETTINGS)
def test_every_variable_of_a_service_is_a_setting_of_it(name: str, trial: dict[str, Config]) -> None:
    assert {variable.lower() for variable in trial[name]["environment"]} - SETTINGS[
        name
    ].model_fields.keys() == set()


def test_every_variable_of_the_simulator_is_a_setting_of_it(trial: dict[str, Config]) -> None:
    assert set(trial["simulator"]["environment"]) <= set(
        re.findall(r"`(SIMULATOR_\w+)`", SimulatorSettings.__doc__ or "")
    )
    assert from_environment(given(trial["simulator"])).tenant == TENANT


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("whose", ["trial", "own"])
def test_the_settings_are_good(
    name: str, whose: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in list(os.environ):
        if variable.lower() in SETTINGS[name].model_fields:
            monkeypatch.delenv(variable)
    for variable, value in given(request.getfixturevalue(whose)[name]).items():
        monkeypatch.setenv(variable, value)
    load(SETTINGS[name])


@pytest.mark.parametrize("missing", OWN)
def test_a_setting_that_is_needed_is_asked_for_in_a_sentence(missing: str) -> None:
    ran = compose({name: value for name, value in OWN.items() if name != missing}, "--env-file=/dev/null")
    assert ran.returncode != 0
    assert re.search(rf"required variable {missing} is missing a value: \w+ .* \w+", ran.stderr)


@pytest.mark.parametrize("place", ["/run/secrets/client.pem", "client.pem"])
def test_a_certificate_takes_the_secrets_place(place: str) -> None:
    pem = ROOT / place
    ingest = services({**OWN, "CLIENT_SECRET": "", "CLIENT_CERTIFICATE": place}, "--env-file=/dev/null")[
        "mail-ingest"
    ]
    assert given(ingest)["CLIENT_SECRET"] == ""
    assert given(ingest)["CLIENT_CERTIFICATE"] in {
        mount["target"] for mount in ingest["volumes"] if mount["source"] == str(pem)
    }


def test_a_rules_file_beside_it_is_mounted() -> None:
    matcher = services({**OWN, "RULES_FILE": "rules.toml"}, "--env-file=/dev/null")["matcher"]
    assert given(matcher)["RULES_FILE"] in {
        mount["target"] for mount in matcher["volumes"] if mount["source"] == str(ROOT / "rules.toml")
    }


def test_the_services_find_each_other(trial: dict[str, Config], own: dict[str, Config]) -> None:
    for found in (trial, own):
        assert (
            given(found["tracking"])["INGEST_URL"]
            == f"http://mail-ingest:{given(found['mail-ingest'])['PORT']}"
        )
        assert given(found["tracking"])["SERVICE_TOKEN"] == given(found["mail-ingest"])["SERVICE_TOKEN"]
        assert (
            given(found["kafka"])["KAFKA_ADVERTISED_LISTENERS"]
            == f"PLAINTEXT://{given(found['matcher'])['KAFKA_BOOTSTRAP_SERVERS']}"
        )
    simulator = from_environment(given(trial["simulator"]))
    assert given(trial["mail-ingest"])["GRAPH_URL"] == f"{simulator.base_url}/v1.0"
    for name in ("mail-ingest", "tracking"):
        assert given(trial[name])["AUTHORITY_URL"] == simulator.base_url
        assert given(trial[name])["CA_FILE"] == f"{simulator.folder}/ca.pem"
        assert (str(simulator.folder), "simulator") in {
            (mount["target"], mount["source"]) for mount in trial[name]["volumes"]
        }
    host = httpx2.URL(simulator.base_url).host
    assert trial["simulator"]["networks"]["outside"]["aliases"] == [host]


# -- who reaches what -----------------------------------------------------------------------------


def test_ports_are_those_of_the_architecture(trial: dict[str, Config]) -> None:
    rows = re.findall(
        r"^\| ([a-z-]+) \| (\d+) \| `(\w+)` \|", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE
    )
    assert len(rows) == 6
    assert {(name, setting): given(trial[name])[setting].rpartition(":")[2] for name, _, setting in rows} == {
        (name, setting): port for name, port, setting in rows
    }


def test_only_the_page_and_the_webhook_are_published_and_on_this_machine_alone(
    trial: dict[str, Config], own: dict[str, Config]
) -> None:
    def published(found: dict[str, Config]) -> set[tuple[str, str, int]]:
        ports = [(name, port) for name, service in found.items() for port in service.get("ports", [])]
        assert {port["host_ip"] for _, port in ports} == {"127.0.0.1"}
        return {(name, port["published"], port["target"]) for name, port in ports}

    assert published(own) == {("tracking", "18083", 18083), ("mail-ingest", "18080", 18080)}
    (door,) = published(trial) - published(own)
    assert door[:2] == ("simulator", str(httpx2.URL(given(trial["tracking"])["BROWSER_AUTHORITY_URL"]).port))
    assert trial["door"]["command"] == [
        f"0.0.0.0:{door[2]}={given(trial['simulator'])['SIMULATOR_BROWSER_LISTEN']}",
        f"{httpx2.URL(given(trial['mail-ingest'])['WEBHOOK_URL']).netloc.decode()}=mail-ingest:{given(trial['mail-ingest'])['WEBHOOK_PORT']}",
    ]


def test_only_what_talks_to_microsoft_or_to_people_has_a_way_out(trial: dict[str, Config]) -> None:
    config = json.loads(compose({}, f"--env-file={TRIAL}").stdout)
    assert config["networks"]["inside"]["internal"] is True
    assert {name for name, service in trial.items() if "outside" in service.get("networks", {})} == {
        "mail-ingest",
        "tracking",
        "simulator",
        "company",
    }


# -- how they run ---------------------------------------------------------------------------------


def test_every_program_of_ours_is_hardened_and_has_time_to_drain(trial: dict[str, Config]) -> None:
    for name in trial.keys() - FOREIGN:
        service = trial[name]
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["tmpfs"] == ["/tmp"], name
        assert service["init"] is True, name
        assert "privileged" not in service, name
        assert "user" not in service, "the image's own"
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


def test_what_others_wait_for_has_a_health_check_or_an_end(trial: dict[str, Config]) -> None:
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
                    assert (name, other, condition) == ("company", "door", "service_started")
    for name in ("mail-ingest", "matcher", "tracking", "simulator"):
        assert "/health/live" in trial[name]["healthcheck"]["test"][-1]


def test_data_outlive_their_containers(trial: dict[str, Config]) -> None:
    kept = {
        name: {
            (mount["source"], mount["target"])
            for mount in service.get("volumes", [])
            if mount["type"] == "volume"
        }
        for name, service in trial.items()
    }
    assert ("kafka", given(trial["kafka"])["KAFKA_LOG_DIRS"]) in kept["kafka"]
    assert ("mongodb", "/data/db") in kept["mongodb"]


def test_whatever_is_mounted_from_here_is_here(trial: dict[str, Config]) -> None:
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
    """What a stage and those below it copy from the repository."""
    while stage in STAGES:
        stage, body = STAGES[stage]
        yield from re.findall(r"^COPY (?!--)(\S+) (\S+)$", body, re.MULTILINE)


def entrypoint(stage: str) -> list[str]:
    (exec_form,) = re.findall(r"^ENTRYPOINT (\[.*\])$", STAGES[stage][1], re.MULTILINE)
    return list(json.loads(exec_form))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each program a folder with what its image has of ours, and nothing else."""
    made = {}
    for program in PROGRAMS:
        made[program] = folder = tmp_path_factory.mktemp(program)
        for source, target in copied(program):
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, folder / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, folder / target)
    return made


def test_each_program_has_its_image(trial: dict[str, Config]) -> None:
    built = {service["build"]["args"]["SERVICE"] for service in trial.values() if "build" in service}
    requirements = {path.stem for path in (ROOT / "requirements").glob("*.txt")} - {"dev"}
    assert set(PROGRAMS) == built == requirements == {*SETTINGS.keys() - {"topics"}, "simulator"}
    assert {name for name, service in trial.items() if "build" not in service} == FOREIGN


def test_images_of_others_are_pinned_by_version(trial: dict[str, Config]) -> None:
    pinned = re.compile(r"(apache/kafka|mongo):\d+\.\d+\.\d+")
    assert [
        trial[name]["image"] for name in sorted(FOREIGN) if not pinned.fullmatch(trial[name]["image"])
    ] == []
    assert re.findall(r"^ARG PYTHON=(.*)$", DOCKERFILE, re.MULTILINE) == [
        re.search(r"3\.\d+\.\d+-slim-[a-z]+", DOCKERFILE)[0]
    ]  # type: ignore[index]  # it is there
    assert {base for base, _ in STAGES.values()} <= {"python:${PYTHON}", "${SERVICE}", *STAGES}


def test_an_image_runs_as_nobody_in_particular() -> None:
    last = list(STAGES)[-1]
    assert last == "", "the last stage has no name"
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert "USER 10001:10001" in STAGES[last][1]
    assert "--require-hashes" in STAGES["installed"][1]


IMPORT_ALL = """
import importlib, json, pkgutil, re, sys
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions

pinned, packages = json.load(sys.stdin)
of = packages_distributions()

class Installed(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in of and not any(re.sub("[-_.]+", "-", each).lower() in pinned for each in of[top]):
            return None  # as if it were not there: a library may also look whether a package is there
        return super().find_spec(name, path, target)

sys.meta_path = [Installed if finder is PathFinder else finder for finder in sys.meta_path]
for package in packages:
    found = importlib.import_module(package)
    for module in pkgutil.walk_packages(getattr(found, "__path__", []), package + "."):
        importlib.import_module(module.name)
"""
"""Imports these packages with all that is in them, as if no other distribution than these were installed."""


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_needs_no_file_and_no_package_that_its_image_lacks(
    program: str, images: dict[str, Path]
) -> None:
    _, _, module = entrypoint(program)
    packages = ["shared", module] if program != "simulator" else ["simulator"]
    pinned = re.findall(
        r"^([\w.-]+?)(?:\[\S*\])?==", (ROOT / f"requirements/{program}.txt").read_text(), re.MULTILINE
    )
    ran = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL],
        cwd=images[program],
        env={},
        input=json.dumps([[plain(name) for name in pinned], packages]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_an_image_starts_is_that_program(program: str, images: dict[str, Path]) -> None:
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


def test_the_topics_are_made_by_a_program_that_is_in_the_image(
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


def test_the_builder_gets_what_is_copied_and_nothing_else() -> None:
    lines = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert lines[0] == "*", "all is left out that is not let in below"
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    asked = {source.partition("/")[0] for stage in (*PROGRAMS, "installed") for source, _ in copied(stage)}
    assert let_in == asked


# -- what runs beside the simulator ---------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def test_the_door_passes_both_ways_and_outlives_who_is_away() -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())  # until the other side has ended
        writer.close()

    there = await asyncio.start_server(shout, "127.0.0.1", 0)
    here, nowhere = free_port(), free_port()
    ways = [
        f"127.0.0.1:{here}=127.0.0.1:{there.sockets[0].getsockname()[1]}",
        f"127.0.0.1:{nowhere}=127.0.0.1:{free_port()}",
    ]
    door = await asyncio.create_subprocess_exec(
        sys.executable, ROOT / "deploy/compose/door.py", *ways, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(2):
            reader, writer = await opened(nowhere)
            assert await reader.read() == b""
            writer.close()
            reader, writer = await opened(here)
            writer.write(b"a" * 1_000_000)
            writer.write_eof()
            assert await reader.read() == b"A" * 1_000_000
            writer.close()
    finally:
        door.terminate()
        await door.wait()
        there.close()


async def opened(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to who may still be starting."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)


async def test_the_company_comes_and_comes_again(
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
        here = {
            "KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap,
            "INGEST_URL": system["mail-ingest"].url,
            "SERVICE_TOKEN": system.service_token,
            "SIMULATOR_URL": system.simulator,
            "CA_FILE": str(system.ca),
            "TENANT": TENANT,
        }
        assert here.keys() == trial["company"]["environment"].keys()
        said = []
        for _ in range(2):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                company / "company.py",
                env={**here, "TOPIC_PREFIX": topic_prefix},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            printed, _ = await process.communicate()
            assert process.returncode == 0, printed.decode()
            enrolled = httpx2.get(
                f"{here['INGEST_URL']}/mailboxes",
                headers={"Authorization": f"Bearer {here['SERVICE_TOKEN']}"},
                trust_env=False,
            ).json()
            records, _ = await read_topic_table(stack.kafka_bootstrap, f"{topic_prefix}records")
            said.append(
                (
                    {mailbox["mailbox"] for mailbox in enrolled},
                    {key: json.loads(value) for key, (value, _) in records.items()},
                )
            )
        client = Simulator(system.simulator, system.ca)
        people = {user["oid"]: user["name"] for user in client.tenant(TENANT).show()["users"]}
        client.close()
    mailboxes, published = said[0]
    assert said[1] == said[0]
    assert people.keys() == mailboxes
    assert set(people.values()) == {person.name for person in sample_company.SELLERS}
    assert published == {
        f"{each['tenant']}/{each['type']}/{each['id']}".encode(): each
        for each in sample_company.records(TENANT)
    }
