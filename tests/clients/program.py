"""A running program that uses an official client: one JSON object per line in, one out.

A program reads `{"action": …, …}` and writes `{"result": …}`, or `{"failure": …}` if the client raised what
the action does not expect. It runs until its input ends, so the client's caches and connections live
through several actions as they do in a service.
"""

import json
import queue
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

ACTION_TIMEOUT = 90.0
"""Seconds; a client's retries take up to 20 s, and the first import of the Python SDK may take as long."""

STOP_TIMEOUT = 10.0


class ProgramError(AssertionError):
    """The program failed; the message has the client's error, or what the program wrote to stderr."""


class Program:
    """A process of its own, with the client's usual settings in its environment."""

    def __init__(self, command: list[str], environment: Mapping[str, str], folder: Path) -> None:
        self._command, self._environment, self._folder = command, dict(environment), folder
        self._lines: queue.Queue[str] = queue.Queue()

    def __enter__(self) -> Self:
        self._log = (self._folder / "stderr.log").open("w+")
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            cwd=self._folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        assert self._process.stdout
        self._process.stdout.close()
        self._log.close()

    def call(self, action: str, **parameters: Any) -> Any:
        """Run one action and return its result.

        Raises:
            ProgramError: the client raised an error that the action does not expect, or the process ended.
        """
        assert self._process.stdin
        line = ""
        try:
            print(json.dumps({"action": action, **parameters}), file=self._process.stdin, flush=True)
            line = self._lines.get(timeout=ACTION_TIMEOUT)
        except (BrokenPipeError, queue.Empty):
            pass
        if not line:
            self._log.seek(0)
            raise ProgramError(f"{action}: no response from the program\n{self._log.read()}")
        response = json.loads(line)
        if "failure" in response:
            raise ProgramError(f"{action}: {response['failure']}")
        return response["result"]

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")
