"""The supervisor of the whole system, and its commands: every process is the real one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.local.processes import LocalError
from deploy.local.stack import LocalStack
from deploy.local.system import PROGRAMS, ROOT, System

START = 60  # seconds that a start may take on a busy machine


@pytest.fixture
def prefix(topic_prefix: str, mongodb_database: str) -> str:
    """Before the names of topics and databases, which go at the test's end."""
    assert mongodb_database.startswith(topic_prefix)
    return topic_prefix


@pytest.fixture
def system(stack: LocalStack, tmp_path: Path, prefix: str) -> Iterator[System]:
    """A system of this test alone, not started."""
    with System(stack, tmp_path, prefix=prefix, env={"KAFKA_PARTITIONS": "2"}) as system:
        yield system


def pids(system: System) -> dict[str, int]:
    return {process.name: process.background.pid for process in system if process.background.pid}


def test_it_starts_is_asked_and_stops(system: System) -> None:
    system.start()

    assert pids(system).keys() == PROGRAMS.keys()
    for process in system:
        assert process.not_ready() is None
        assert isinstance(process.status(), dict)
        usage = process.usage()
        assert usage is not None
        assert usage.cpu_seconds > 0

    assert system.stop(), "a process had to be killed"
    assert pids(system) == {}


def test_one_is_killed_and_comes_back_while_the_others_run_on(system: System) -> None:
    system.start("simulator", "matcher", "mail-ingest")
    before = pids(system)

    system["matcher"].kill()
    assert not system["matcher"].running
    assert system["matcher"].not_ready() == "it does not run"
    system["matcher"].start()

    after = pids(system)
    assert {name for name in before if before[name] != after[name]} == {"matcher"}
    assert system["matcher"].not_ready() is None


def test_a_replica_has_its_own_port_log_and_name(system: System) -> None:
    system.start("simulator", "matcher")
    second = system.add("matcher")

    assert second.name == "matcher-2"
    assert second.url != system["matcher"].url
    assert second.background.log.exists()
    assert system.replicas("matcher") == [system["matcher"], second]
    assert system.environment(second)["INSTANCE"] == "matcher-2"

    second.signal(signal.SIGSTOP)
    assert second.stop(), "one that sleeps is woken, so that it can drain"


def test_what_does_not_get_ready_is_told_with_its_log_and_the_rest_is_stopped(system: System) -> None:
    bad = System(system.stack, system.folder, prefix=system.prefix, env_of={"matcher": {"LOG_LEVEL": "LOUD"}})
    with pytest.raises(LocalError, match=r"matcher ended while getting ready(.|\n)*bad setting LOG_LEVEL"):
        bad.start("simulator", "matcher")
    assert pids(system) == {}


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_all_ends_with_who_started_it(
    stack: LocalStack, tmp_path: Path, prefix: str, ending: signal.Signals
) -> None:
    program = f"""
import time
from pathlib import Path
from deploy.local.stack import LocalStack
from deploy.local.system import System
folder = Path({str(tmp_path)!r})
with LocalStack(folder) as stack, System(stack, folder, prefix={prefix!r}, say=lambda line: None) as system:
    system.start("simulator", "matcher")
    print(*(process.background.pid for process in system if process.running), flush=True)
    time.sleep(600)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | stack.environment,
        cwd=ROOT,
    ) as starter:
        assert starter.stdout is not None
        children = [psutil.Process(int(pid)) for pid in starter.stdout.readline().split()]
        assert len(children) == 2
        starter.send_signal(ending)
        starter.stdout.close()
    _, alive = psutil.wait_procs(children, timeout=15)
    assert alive == []


def test_up_status_and_down(stack: LocalStack, tmp_path: Path, prefix: str) -> None:
    env = os.environ | stack.environment | {"LOCAL_DIR": str(tmp_path), "TOPIC_PREFIX": prefix}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deploy.local", *arguments],
            env=env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=START,
            check=False,
        )

    try:
        first = run("up")
        assert first.returncode == 0, first.stderr
        began = time.monotonic()
        second = run("up")
        assert second.returncode == 0, second.stderr
        assert "starting" not in second.stdout
        assert time.monotonic() - began < 10

        status = run("status")
        assert status.returncode == 0, status.stdout
        for name, program in PROGRAMS.items():
            assert f"\n{name} says {{" in status.stdout
            assert str(tmp_path / "logs" / f"{name}.log") in status.stdout
            noted = json.loads((tmp_path / "system.json").read_text())["ports"][name]
            assert noted.keys() == program.ports.keys()
    finally:
        down = run("down")
    assert down.returncode == 0, down.stdout
    gone = run("status")
    assert gone.returncode == 1
    assert gone.stdout.count("stopped") == len(PROGRAMS)
