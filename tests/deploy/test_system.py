"""The supervisor of the whole system and its commands, with the real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from deploy.local.modules import ROOT
from deploy.local.processes import LocalError
from deploy.local.programs import PROGRAMS
from deploy.local.stack import LocalStack
from deploy.local.system import System
from services.mail_ingest.settings import IngestSettings
from services.matcher.settings import MatcherSettings
from services.tracking.settings import TrackingSettings
from shared.settings import EnvironmentSettings, variable_name
from simulator.settings import NAMES as SIMULATOR_SETTINGS
from tests.support.databases import drop_databases
from tests.support.topics import delete_topics

START_TIMEOUT = 60
"""Seconds that a start may take on a busy machine."""


SERVICES: dict[str, type[EnvironmentSettings]] = {
    "mail-ingest": IngestSettings,
    "matcher": MatcherSettings,
    "tracking": TrackingSettings,
}


@pytest.fixture(scope="module")
async def prefix(kafka: str, mongodb_uri: str) -> AsyncIterator[str]:
    """A prefix of topics and databases, which are deleted after the last test."""
    prefix = f"test-{uuid4().hex[:12]}-"
    yield prefix
    await delete_topics(kafka, prefix)
    drop_databases(mongodb_uri, prefix)


@pytest.fixture(scope="module")
def system(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory, prefix: str) -> Iterator[System]:
    """A system of all programs, which `test_stop_drains_all_programs` stops."""
    folder = tmp_path_factory.mktemp("system")
    with System(stack, folder, prefix=prefix, env={"KAFKA_PARTITIONS": "2"}) as system:
        system.start()
        yield system


def pids(system: System) -> dict[str, int]:
    return {process.name: process.background.pid for process in system if process.background.pid}


def test_every_setting_of_a_program_is_known_to_it() -> None:
    known = {
        name: {variable_name(model, field) for field in model.model_fields}
        for name, model in SERVICES.items()
    } | {"simulator": set(SIMULATOR_SETTINGS)}
    for name, program in PROGRAMS.items():
        assert program.env.keys() | program.ports.keys() <= known[name]


def test_ports_become_the_settings_of_their_programs(tmp_path: Path) -> None:
    system = System(LocalStack(tmp_path, environ={}), tmp_path)
    mail_ingest, simulator = system["mail-ingest"], system["simulator"]
    system.choose_ports(mail_ingest)
    system.choose_ports(simulator)
    settings = system.environment(mail_ingest)
    webhook_port = mail_ingest.ports["MAIL_INGEST_WEBHOOK_LISTEN"]
    assert settings["PORT"] == str(mail_ingest.ports["PORT"])
    assert settings["MAIL_INGEST_WEBHOOK_LISTEN"] == f"127.0.0.1:{webhook_port}"
    assert settings["MAIL_INGEST_WEBHOOK_URL"] == f"http://127.0.0.1:{webhook_port}"
    assert settings["AUTHORITY_URL"] == f"https://localhost:{simulator.ports['SIMULATOR_LISTEN']}"


def test_recorded_ports_of_other_settings_are_ignored(tmp_path: Path) -> None:
    system = System(LocalStack(tmp_path, environ={}), tmp_path)
    recorded = {"service_token": "t", "ports": {"matcher": {"PORT": 20_001, "REMOVED_LISTEN": 20_002}}}
    (tmp_path / "system.json").write_text(json.dumps(recorded))
    assert system["matcher"].ports == {"PORT": 20_001}
    system.choose_ports(system["matcher"])
    assert system["matcher"].ports.keys() == {"PORT"}


def test_all_programs_start_and_report(system: System) -> None:
    assert pids(system).keys() == PROGRAMS.keys()
    for process in system:
        assert process.not_ready() is None
        assert isinstance(process.status(), dict)
        usage = process.usage()
        assert usage is not None
        assert usage.cpu_seconds > 0


def test_killed_program_restarts_while_others_run(system: System) -> None:
    before = pids(system)

    system["matcher"].kill()
    assert not system["matcher"].running
    assert system["matcher"].not_ready() == "it does not run"
    system["matcher"].start()

    after = pids(system)
    assert {name for name in before if before[name] != after[name]} == {"matcher"}
    assert system["matcher"].not_ready() is None


def test_replica_has_its_own_port_log_and_name(system: System) -> None:
    second = system.add("matcher")

    assert second.name == "matcher-2"
    assert second.url != system["matcher"].url
    assert second.background.log.exists()
    assert system.replicas("matcher") == [system["matcher"], second]
    assert system.environment(second)["INSTANCE"] == "matcher-2"

    second.signal(signal.SIGSTOP)
    assert second.stop(), "a suspended process is resumed, so that it can drain"


def test_stop_drains_all_programs(system: System) -> None:
    assert system.stop(), "a process had to be killed"
    assert pids(system) == {}


def test_failed_start_reports_the_log_and_stops_the_others(
    stack: LocalStack, tmp_path: Path, prefix: str
) -> None:
    bad = System(
        stack,
        tmp_path,
        prefix=prefix,
        env={"KAFKA_PARTITIONS": "2"},
        env_of={"matcher": {"LOG_LEVEL": "LOUD"}},
    )
    with pytest.raises(LocalError, match=r"matcher ended while getting ready(.|\n)*bad setting LOG_LEVEL"):
        bad.start("simulator", "matcher")
    assert pids(bad) == {}


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_all_processes_end_with_their_parent(
    stack: LocalStack, tmp_path: Path, prefix: str, ending: signal.Signals
) -> None:
    program = f"""
import time
from pathlib import Path
from deploy.local.stack import LocalStack
from deploy.local.system import System
folder = Path({str(tmp_path)!r})
silent = lambda line: None
with LocalStack(folder) as stack, System(stack, folder, prefix={prefix!r}, progress=silent) as system:
    system["simulator"].start()
    system["matcher"].start(wait=False)
    print(*(process.background.pid for process in system if process.running), flush=True)
    time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | stack.environment,
        cwd=ROOT,
    ) as parent:
        assert parent.stdout is not None
        children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(children) == 2
        parent.send_signal(ending)
        parent.stdout.close()
    _, alive = psutil.wait_procs(children, timeout=15)
    assert alive == []


@pytest.mark.usefixtures("usual_ports")
def test_up_status_and_down(
    stack: LocalStack, tmp_path: Path, topic_prefix: str, mongodb_database: str
) -> None:
    assert mongodb_database.startswith(topic_prefix)
    own = {"LOCAL_DIR": str(tmp_path), "TOPIC_PREFIX": topic_prefix, "KAFKA_PARTITIONS": "2"}
    env = os.environ | stack.environment | own

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deploy.local", *arguments],
            env=env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT,
            check=False,
        )

    try:
        first = run("up")
        assert first.returncode == 0, first.stderr
        pid_files = {name: (tmp_path / "pids" / f"{name}.json").read_text() for name in PROGRAMS}
        started_at = time.monotonic()
        second = run("up")
        assert second.returncode == 0, second.stderr
        assert "starting" not in second.stdout
        assert time.monotonic() - started_at < START_TIMEOUT / 2
        assert pid_files == {name: (tmp_path / "pids" / f"{name}.json").read_text() for name in PROGRAMS}

        status = run("status")
        assert status.returncode == 0, status.stdout
        for name, program in PROGRAMS.items():
            assert f"\nstatus of {name}: {{" in status.stdout
            assert str(tmp_path / "logs" / f"{name}.log") in status.stdout
            recorded = json.loads((tmp_path / "system.json").read_text())["ports"][name]
            assert recorded.keys() == program.ports.keys()
    finally:
        down = run("down")
    assert down.returncode == 0, down.stdout
    stopped = run("status")
    assert stopped.returncode == 1
    assert stopped.stdout.count("stopped") == len(PROGRAMS)
