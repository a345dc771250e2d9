"""Processes in the background: started, recognised later by their pid file, stopped."""

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
from typing import Any

import psutil

Say = Callable[[str], None]
Command = Sequence[str | Path]

# <linux/prctl.h>: the signal that a process gets when its parent dies.
PR_SET_PDEATHSIG = 1

# A pid file's process is the one that was born then; a clock that is set in between moves the
# births that psutil computes by less than this, and no pid comes round again as quickly.
SAME_BIRTH_SECONDS = 2.0

# Below the range from which Linux takes ports for outgoing connections (32768), so that a port
# found free is not taken by a passing client before its server listens.
SPARE_PORTS = range(20_000, 30_000)
SPARE_PORTS_SETTING = "LOCAL_PORTS"
"""`FIRST-LAST`: the part of the spare ports that this process and its children take. Processes that start
servers at the same time get parts that do not overlap: seconds pass between choosing a port and listening."""


class LocalError(Exception):
    """Something does not work on this machine; the message is one sentence that says what helps."""


def say(line: str) -> None:
    """Print a line of progress at once, also where the output is a file."""
    print(line, flush=True)


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback now."""
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
    """Return the preferred port if it is free and not among `taken`, else another that is.

    Preferring 0 is preferring none.
    """
    taken, spare = set(taken), spare_ports()
    if preferred and preferred not in taken and is_free(preferred):
        return preferred
    for _ in range(1000):
        port = random.choice(spare)
        if port not in taken and is_free(port):
            return port
    raise LocalError("No free port was found on 127.0.0.1; stop something that listens there.")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used so far."""

    cpu_seconds: float
    memory: int  # resident bytes, now


class Background:
    """One process in the background, with its own log and pid file in the folder.

    Another Python process with the same name and folder sees, signals and stops the same one.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.log = folder / "logs" / f"{name}.log"
        self._pid_file = folder / "pids" / f"{name}.json"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, or None if it does not run."""
        process = self._process()
        return process.pid if process else None

    @property
    def exit_code(self) -> int | None:
        """How it ended (minus the signal, if by one), where this Python process started it."""
        return self._child.poll() if self._child else None

    def start(
        self,
        command: Command,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        tied: bool = False,
    ) -> None:
        """Start the command in a session of its own, so that Ctrl-C in this one is not its end.

        A *tied* process is killed by the kernel when this Python process ends in whatever way.
        The log of the run before is kept beside the new one, as `NAME.log.1`.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._pid_file.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("wb") as log:
            spawn = _tied_popen if tied else subprocess.Popen
            self._child = spawn(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
            )
        born = psutil.Process(self._child.pid).create_time()
        self._pid_file.write_text(json.dumps({"pid": self._child.pid, "born": born}))

    def usage(self) -> Usage | None:
        """CPU seconds and memory, or None if it does not run."""
        process = self._process()
        if process is None:
            return None
        cpu = process.cpu_times()
        return Usage(cpu.user + cpu.system, process.memory_info().rss)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        process = self._process()
        if process:
            process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL it and what it started; return once it is gone."""
        process = self._process()
        if process:
            os.killpg(process.pid, signal.SIGKILL)
            self._wait(process, 10)
        self._forget()

    def stop(self, grace: float) -> bool:
        """SIGTERM; SIGKILL after `grace` seconds. Returns whether it went by itself."""
        process = self._process()
        if process:
            process.send_signal(signal.SIGTERM)
            # One that sleeps (SIGSTOP) hears SIGTERM when it wakes.
            process.send_signal(signal.SIGCONT)
            if not self._wait(process, grace):
                self.kill()
                return False
        self._forget()
        return True

    def tail(self, lines: int = 12) -> str:
        """The last lines of the log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def wait_until(self, ready: Callable[[], bool], seconds: float, doing: str) -> None:
        """Wait until `ready()`; raise LocalError with the log's end if it dies or is late."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self.pid is None:
                raise LocalError(f"{self.name} ended while {doing}. {self._log_said()}")
            if time.monotonic() > deadline:
                raise LocalError(
                    f"{self.name} was still not there after {seconds:.0f} s of {doing}. {self._log_said()}"
                )
            time.sleep(0.05)

    def _log_said(self) -> str:
        return f"The end of its log, {self.log}:\n{self.tail()}"

    def _process(self) -> psutil.Process | None:
        if self._child is not None and self._child.poll() is not None:
            return None
        try:
            noted = json.loads(self._pid_file.read_text())
            process = psutil.Process(noted["pid"])
            same = abs(process.create_time() - noted["born"]) < SAME_BIRTH_SECONDS
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except (FileNotFoundError, json.JSONDecodeError, psutil.NoSuchProcess):
            return None

    def _wait(self, process: psutil.Process, seconds: float) -> bool:
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


def _tied_popen(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Popen whose child the kernel kills when this process ends (on Linux; elsewhere as usual).

    "The parent" is to the kernel the *thread* that forked, so a thread that lives as long as the
    process does the forking.
    """
    libc = _libc()
    parent = os.getpid()

    def die_with_parent() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died before we asked
                os.kill(os.getpid(), signal.SIGKILL)

    def fork() -> subprocess.Popen[bytes]:
        # Safe beside threads: between fork and exec it makes two system calls and takes no lock.
        return subprocess.Popen(command, preexec_fn=die_with_parent, **options)  # noqa: PLW1509  # see above

    return _forking_thread().submit(fork).result()


@cache
def _forking_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="forks-tied-processes")


@cache
def _libc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "prctl") else None
