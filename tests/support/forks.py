"""Starts Python modules as processes, like `subprocess`, but by a fork of a process that has the libraries.

    process = popen("services.matcher", env=environment, stdout=log)     # python -m services.matcher
    done = run("services.matcher", "check", file)                        # … check FILE

A service's start takes a third of the CPU time. The processes are as real as others: with a process id, an
environment, signals and an exit code of their own.
"""

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from deploy.local.processes import tied_popen
from tests.support.fork_server import ANSWER

ROOT = Path(__file__).parents[2]
LIBRARIES = (
    "aiokafka.admin",
    "cryptography.x509",
    "fastapi.openapi.utils",
    "faststream.kafka",
    "httptools",
    "httpx2",
    "icalendar",
    "idna",
    "jwt",
    "motor.motor_asyncio",
    "msal",
    "prometheus_client",
    "pydantic_settings",
    "pymongo",
    "pythonjsonlogger.json",
    "requests",
    "trustme",
    "uvicorn",
    "uvloop",
)
"""The libraries of the services and of the simulator that take long to import."""


class ForkedProcess:
    """A process that a fork server has started; its methods are those of `subprocess.Popen`."""

    def __init__(self, pid: int, answers: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._answers = answers
        self._lock = threading.Lock()
        # Closed once, when no thread uses it any more: its number soon belongs to another file.
        weakref.finalize(self, os.close, answers)

    def poll(self) -> int | None:
        """The exit code, or None while the process runs."""
        return self._receive_exit_code(0)

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end, and returns the exit code.

        Raises:
            subprocess.TimeoutExpired: the process still runs after `timeout` seconds.
        """
        code = self._receive_exit_code(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended, and its status is not here yet
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _receive_exit_code(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._answers], [], [], timeout)[0]:
            with self._lock:
                if self.returncode is None:
                    answer = os.read(self._answers, ANSWER.size)
                    self.returncode = ANSWER.unpack(answer)[0] if answer else -signal.SIGKILL
        return self.returncode


class ForkServer:
    """The server's process: it ends with this one, and all that it forked end with it."""

    def __init__(self, *libraries: str, cwd: Path = ROOT, env: Mapping[str, str] = os.environ) -> None:
        self._lock = threading.Lock()
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = str(cwd / "tests" / "support" / "fork_server.py")
        with theirs:
            self._process = tied_popen(
                [sys.executable, program, str(theirs.fileno()), *libraries],
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def popen(
        self,
        module: str,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        stdout: IO[bytes] | None = None,
        stderr: IO[bytes] | None = None,
    ) -> ForkedProcess:
        """Starts `python -m module arguments`; its output goes to our own where no file is given."""
        request = {
            "module": module,
            "arguments": [str(argument) for argument in arguments],
            "env": dict(os.environ if env is None else env),
            "cwd": str(cwd),
        }
        answers, theirs = os.pipe()
        output = [1 if stdout is None else stdout.fileno(), 2 if stderr is None else stderr.fileno()]
        with self._lock:
            socket.send_fds(self._requests, [json.dumps(request).encode()], [*output, theirs])
        os.close(theirs)
        started = os.read(answers, ANSWER.size)
        if not started:
            raise RuntimeError(f"the fork server has ended with {self._process.poll()}")
        return ForkedProcess(ANSWER.unpack(started)[0], answers)

    def stop(self) -> None:
        """Kills the server, and with it all that it has forked."""
        self._process.kill()
        self._process.wait()
        self._requests.close()


@cache
def fork_server() -> ForkServer:
    """The fork server of this test worker."""
    server = ForkServer(*LIBRARIES)
    atexit.register(server.stop)
    return server


def popen(
    module: str,
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    stdout: IO[bytes] | None = None,
    stderr: IO[bytes] | None = None,
) -> ForkedProcess:
    """Starts `python -m module arguments` in the folder of the project."""
    return fork_server().popen(module, *arguments, env=env, stdout=stdout, stderr=stderr)


def run(
    module: str, *arguments: str | Path, env: Mapping[str, str] | None = None, timeout: float = 60
) -> "subprocess.CompletedProcess[str]":
    """Runs `python -m module arguments` to its end. Returns its exit code, and what it has printed."""
    with TemporaryFile() as stdout, TemporaryFile() as stderr:
        process = popen(module, *arguments, env=env, stdout=stdout, stderr=stderr)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        texts = []
        for file in (stdout, stderr):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess([module, *map(str, arguments)], code, *texts)
