"""A process that has imported the libraries, and forks a child for each Python module that a test starts.

Imports take two thirds of the CPU time of a service's start. Nothing of this repository is imported before
the fork, so each child reads the present code.

Usage: fork_server.py SOCKET LIBRARY…: the number of a socket of datagrams, and the libraries to import.
A request is a JSON object, `{"module", "arguments", "env", "cwd"}`, with three file descriptors: the child's
stdout, its stderr, and a pipe for our answers. These are 8 bytes each: the process id of the child, which
leads a process group of its own, then its exit code, or minus the number of the signal that ended it.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import struct
import sys
from io import TextIOWrapper
from typing import cast

ANSWER = struct.Struct("q")
MAX_REQUEST_BYTES = 200_000
PR_SET_PDEATHSIG = 1

answer_pipes: dict[int, int] = {}
"""The process id of each child that runs -> the pipe for its exit code."""


def import_libraries(names: list[str]) -> None:
    """Imports the libraries; a missing one only costs time."""
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def report_ended_children(*_: object) -> None:
    """Sends the exit codes of all children that have ended."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            pid, status = ended
            pipe = answer_pipes.pop(pid)
            send_answer(pipe, os.waitstatus_to_exitcode(status))
            os.close(pipe)


def send_answer(pipe: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody waits for this child
        os.write(pipe, ANSWER.pack(number))


def serve(requests: socket.socket) -> str:
    """Forks a child for each request. Returns in the child alone, with the module that it must run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, report_ended_children)
    while True:
        data, descriptors, _, _ = socket.recv_fds(requests, MAX_REQUEST_BYTES, 3)
        if not data:
            sys.exit()  # the test worker has ended
        request = json.loads(data)
        *output, answers = descriptors
        # An answer about the end of the child must not precede the one about its start.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        server = os.getpid()
        if not (pid := os.fork()):
            requests.close()
            for pipe in (answers, *answer_pipes.values()):
                os.close(pipe)
            become(server, output, request["arguments"], request["env"], request["cwd"])
            return str(request["module"])
        answer_pipes[pid] = answers
        send_answer(answers, pid)
        for descriptor in output:
            os.close(descriptor)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def become(
    server: int, output: list[int], arguments: list[str], environment: dict[str, str], folder: str
) -> None:
    """Makes this child what `python -m` starts, in a process group of its own; it dies with the server."""
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:  # it ended before prctl
        sys.exit(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    for number, target in enumerate((os.open(os.devnull, os.O_RDONLY), *output)):
        os.dup2(target, number)
        os.close(target)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  # it lives as long as the process
    os.environ.clear()
    os.environ.update(environment)
    for stream in (sys.stdout, sys.stderr):
        cast("TextIOWrapper", stream).reconfigure(write_through="PYTHONUNBUFFERED" in environment)
    os.chdir(folder)
    sys.path[0] = folder
    sys.argv[1:] = arguments


if __name__ == "__main__":
    # As with `python -m`: no module beside this file hides a library.
    sys.path[0] = os.getcwd()  # noqa: PTH109
    _, number, *libraries = sys.argv
    import_libraries(libraries)
    gc.freeze()
    module = serve(socket.socket(fileno=int(number)))
    runpy.run_module(module, run_name="__main__", alter_sys=True)
