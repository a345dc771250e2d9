"""Python modules of the project as processes of their own."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Protocol

from deploy.local.processes import Child, tied_popen

ROOT = Path(__file__).parents[2]


class ModuleStarter(Protocol):
    """A way to start modules. The tests have a quicker one than `Interpreters`."""

    def popen(self, module: str, *, env: Mapping[str, str], stdout: IO[bytes], stderr: IO[bytes]) -> Child:
        """Starts `python -m module` in the folder of the project, in a session of its own."""

    def run(self, module: str, *arguments: str, env: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        """Runs `python -m module arguments` to its end. Returns its exit code, and what it has printed."""


class Interpreters:
    """A new Python interpreter for each process.

    Args:
        tied: the kernel kills the processes of `popen` when this process ends, also after SIGKILL.
    """

    def __init__(self, *, tied: bool) -> None:
        self._spawn = tied_popen if tied else subprocess.Popen

    def popen(self, module: str, *, env: Mapping[str, str], stdout: IO[bytes], stderr: IO[bytes]) -> Child:
        return self._spawn(
            [sys.executable, "-m", module],
            cwd=ROOT,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )

    def run(self, module: str, *arguments: str, env: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
