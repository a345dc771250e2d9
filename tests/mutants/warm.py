"""A process that imports the libraries once, and forks a child for each run of pytest.

Imports take most of the time of a fast test. Nothing of this repository is imported before the fork, so
each run reads the present code.

Input: lines of JSON, `{"arguments": [...], "log": path}`. Output: two lines for each of them, the process id
of the child, which leads a process group of its own, and the child's exit code.
"""

import contextlib
import importlib
import json
import os
import signal
import sys

LIBRARIES = (
    "aiokafka.admin",
    "fastapi.openapi.utils",
    "faststream.kafka",
    "httpx2",
    "hypothesis",
    "idna",
    "jwt",
    "motor.motor_asyncio",
    "msal",
    "prometheus_client",
    "pydantic_settings",
    "pymongo",
    "pytest",
    "pytest_asyncio",
    "pythonjsonlogger.json",
    "requests",
    "uvicorn",
)
"""The slow imports. A missing library only costs time."""
ALREADY_IMPORTED = "ignore::pytest.PytestAssertRewriteWarning"
"""pytest warns that it cannot rewrite the assertions of plugins that are imported already."""


def run_pytest(arguments: list[str], log: str) -> int:
    """Runs pytest with all output in the log, and returns its exit code."""
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for stream, target in ((0, nothing), (1, output), (2, output)):
        os.dup2(target, stream)
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115  # it lives as long as the process
    import pytest

    return int(pytest.main(["-W", ALREADY_IMPORTED, *arguments]))


def write_line(number: int) -> None:
    """Writes a line of the output."""
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def main() -> None:
    """Runs one child after another, until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the outer run kills this process
    sys.path[0] = os.getcwd()  # noqa: PTH109  # as with `python -m`
    for library in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    for line in sys.stdin:
        wanted = json.loads(line)
        if not (child := os.fork()):
            code = 3
            try:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                code = run_pytest(wanted["arguments"], wanted["log"])
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        write_line(child)
        _, status = os.waitpid(child, 0)
        write_line(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
