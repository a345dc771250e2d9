"""A forked process is what `python -m` starts: its arguments, environment, output, signals and end."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.forks import ForkedProcess, ForkServer

REPORT = "import json, os, sys; print(json.dumps([__name__, sys.argv[1:], dict(os.environ), os.getcwd()]))"
FAIL = "import atexit; atexit.register(print, 'at exit'); raise SystemExit('no such setting')"
WAIT = "import time; print('ready', flush=True); time.sleep(600)"


@pytest.fixture
def server() -> Iterator[ForkServer]:
    server = ForkServer()
    yield server
    server.stop()


def start(server: ForkServer, folder: Path, program: str, *arguments: str) -> ForkedProcess:
    """Starts a program; its output goes to the files `out` and `err` of the folder."""
    (folder / "program.py").write_text(program)
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        return server.popen("program", *arguments, env={"A": "b"}, cwd=folder, stdout=out, stderr=err)


def start_waiting(server: ForkServer, folder: Path) -> ForkedProcess:
    """Starts a program that waits, and returns when it does."""
    process = start(server, folder, WAIT)
    while not (folder / "out").read_text():
        assert process.poll() is None, (folder / "err").read_text()
    return process


def test_program_has_its_own_arguments_environment_and_folder(server: ForkServer, tmp_path: Path) -> None:
    assert start(server, tmp_path, REPORT, "x", "--y=z").wait(30) == 0
    reported = json.loads((tmp_path / "out").read_text())
    assert reported == ["__main__", ["x", "--y=z"], {"A": "b"}, str(tmp_path)]
    assert (tmp_path / "err").read_text() == ""


def test_exit_code_and_output_are_those_of_an_interpreter(server: ForkServer, tmp_path: Path) -> None:
    assert start(server, tmp_path, FAIL).wait(30) == 1
    assert ((tmp_path / "out").read_text(), (tmp_path / "err").read_text()) == (
        "at exit\n",
        "no such setting\n",
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signal_ends_one_process_alone(server: ForkServer, tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "other").mkdir()
    process, other = start_waiting(server, tmp_path), start_waiting(server, tmp_path / "other")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.send_signal(number)
    assert (process.wait(30), process.poll(), other.poll()) == (-number, -number, None)


def test_all_processes_end_with_their_server(server: ForkServer, tmp_path: Path) -> None:
    process = start_waiting(server, tmp_path)
    in_kernel = psutil.Process(process.pid)
    process.send_signal(signal.SIGSTOP)  # a suspended process too
    server.stop()
    in_kernel.wait(30)
    assert process.wait(0) == -signal.SIGKILL
