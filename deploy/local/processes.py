"""Background processes: start them, find them again by their pid files, and stop them."""

import contextlib
import ctypes
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, Protocol

import psutil

Progress = Callable[[str], None]
"""Receives each line of progress."""
Command = Sequence[str | Path]


class Child(Protocol):
    """A process that this one has started: what `subprocess.Popen` has and we use."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...


# <linux/prctl.h>: the signal that a process gets when its parent dies.
PR_SET_PDEATHSIG = 1

# A process belongs to a pid file if its start time is the recorded one. psutil computes start times from
# the clock: a correction of the clock moves them by less than this, and the kernel reuses no pid as quickly.
START_TIME_TOLERANCE_SECONDS = 2.0

EXIT_CODE_SECONDS = 10.0
"""The exit code of a process that has ended is known after a moment, on a busy machine too."""

# Below the ports that Linux gives to outgoing connections (from 32768): a client cannot take a free port
# before its server listens.
SPARE_PORTS = range(20_000, 30_000)
SPARE_PORTS_SETTING = "LOCAL_PORTS"
"""`FIRST-LAST`: the part of the spare ports that this process and its children take. Processes that start
servers at the same time get parts that do not overlap: seconds pass between choosing a port and listening."""


class LocalError(Exception):
    """Something does not work on this machine; the message is one sentence with the remedy."""


def print_progress(line: str) -> None:
    """Print a line of progress without buffering, also when the output is a file."""
    print(line, flush=True)


def local_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of data, logs and process ids: `LOCAL_DIR`, or `.local` in the repository."""
    return Path(environ.get("LOCAL_DIR") or Path(__file__).parents[2] / ".local")


def is_free(port: int) -> bool:
    """Return whether a server can listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def spare_ports(environ: Mapping[str, str] = os.environ) -> range:
    """The ports that `choose_port` takes where it has no preference."""
    first, _, last = environ.get(SPARE_PORTS_SETTING, "").partition("-")
    return range(int(first), int(last) + 1) if last else SPARE_PORTS


def choose_port(preferred: int, taken: Iterable[int] = ()) -> int:
    """Return the preferred port if it is free and not in `taken`, else another free port.

    Args:
        preferred: 0 for no preference.
        taken: ports that other processes will use.

    Raises:
        LocalError: no free port was found.
    """
    taken, spare = set(taken), spare_ports()
    if preferred and preferred not in taken and is_free(preferred):
        return preferred
    for _ in range(1000):
        port = random.choice(spare)
        if port not in taken and is_free(port):
            return port
    raise LocalError("No free port was found on 127.0.0.1; stop a program that listens there.")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time and memory of a process since its start."""

    cpu_seconds: float
    memory: int  # resident bytes at this moment


class Background:
    """One background process, with its own log and pid file in the folder.

    An object with the same name and folder in another Python process controls the same background process.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.log = folder / "logs" / f"{name}.log"
        self._pid_file = folder / "pids" / f"{name}.json"
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        """The process id; None if the process does not run."""
        process = self._process()
        return process.pid if process else None

    @property
    def exit_code(self) -> int | None:
        """The exit code, or minus the number of the signal; None unless this Python process started it."""
        if self._child is None:
            return None
        # Who reaps a forked child sees its end a moment before we have its exit code.
        return self._child.poll() if self.pid is not None else self._child.wait(EXIT_CODE_SECONDS)

    def start(self, command: Command, *, tied: bool = False) -> None:
        """Start the command in a session of its own, so that Ctrl-C does not end it.

        The kernel kills a *tied* process when this Python process ends, also after SIGKILL.
        """
        spawn = tied_popen if tied else subprocess.Popen
        self.start_by(
            lambda log: spawn(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        )

    def start_by(self, spawn: Callable[[IO[bytes]], Child]) -> None:
        """Start the process by a function that gets the log; its process leads a session of its own.

        The log of the previous run stays beside the new one, as `NAME.log.1`.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._pid_file.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("wb") as log:
            self._child = spawn(log)
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended already
            started_at = psutil.Process(self._child.pid).create_time()
            self._pid_file.write_text(json.dumps({"pid": self._child.pid, "started_at": started_at}))

    def usage(self) -> Usage | None:
        """CPU seconds and memory; None if the process does not run."""
        process = self._process()
        if process is None:
            return None
        cpu = process.cpu_times()
        return Usage(cpu.user + cpu.system, process.memory_info().rss)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if the process runs."""
        process = self._process()
        if process:
            process.send_signal(number)

    def kill(self) -> None:
        """Send SIGKILL to the process and its children; return when it has ended."""
        process = self._process()
        if process:
            os.killpg(process.pid, signal.SIGKILL)
            self._wait(process, 10)
        self._forget()

    def stop(self, grace: float) -> bool:
        """Send SIGTERM, and SIGKILL after `grace` seconds. Returns whether SIGTERM was enough."""
        process = self._process()
        if process:
            process.send_signal(signal.SIGTERM)
            # A process that SIGSTOP has suspended receives SIGTERM only after SIGCONT.
            process.send_signal(signal.SIGCONT)
            if not self._wait(process, grace):
                self.kill()
                return False
        self._forget()
        return True

    def tail(self, lines: int = 12) -> str:
        """Return the last lines of the log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def wait_until(self, ready: Callable[[], bool], seconds: float, doing: str) -> None:
        """Wait until `ready()` returns true.

        Raises:
            LocalError: the process ended, or `seconds` have passed; the message has the end of its log.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if self.pid is None:
                raise LocalError(f"{self.name} ended while {doing}. {self._log_end()}")
            if time.monotonic() > deadline:
                raise LocalError(
                    f"{self.name} was not ready after {seconds:.0f} s of {doing}. {self._log_end()}"
                )
            time.sleep(0.05)

    def _log_end(self) -> str:
        return f"The end of its log, {self.log}:\n{self.tail()}"

    def _process(self) -> psutil.Process | None:
        if self._child is not None and self._child.poll() is not None:
            return None
        try:
            recorded = json.loads(self._pid_file.read_text())
            process = psutil.Process(recorded["pid"])
            difference = abs(process.create_time() - recorded["started_at"])
            is_same = difference < START_TIME_TOLERANCE_SECONDS
            return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
        except (FileNotFoundError, json.JSONDecodeError, psutil.NoSuchProcess):
            return None

    def _wait(self, process: psutil.Process, seconds: float) -> bool:
        """Return whether the process ended within this time."""
        try:
            if self._child is not None and self._child.pid == process.pid:
                self._child.wait(seconds)
            else:
                process.wait(seconds)
        except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
            return False
        return True

    def _forget(self) -> None:
        self._pid_file.unlink(missing_ok=True)


def tied_popen(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Popen whose child the kernel kills when this process ends; a plain Popen on other systems than Linux.

    For the kernel the parent is the *thread* that forks. Therefore one thread that lives as long as this
    process forks all children.
    """
    libc = _libc()
    parent = os.getpid()

    def die_with_parent() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # the parent ended before prctl
                os.kill(os.getpid(), signal.SIGKILL)

    def fork() -> subprocess.Popen[bytes]:
        # Safe with threads: between fork and exec the child makes two system calls and takes no lock.
        return subprocess.Popen(command, preexec_fn=die_with_parent, **options)  # noqa: PLW1509  # see above

    return _forking_thread().submit(fork).result()


@cache
def _forking_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="forks-tied-processes")


@cache
def _libc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "prctl") else None
