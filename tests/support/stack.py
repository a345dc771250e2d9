"""The real Kafka and MongoDB of one test run, in a folder of its own."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.local.processes import print_progress
from deploy.local.stack import LocalStack, local_dir


@contextmanager
def running_stack() -> Iterator[LocalStack]:
    """An empty stack that nobody else uses, also while another test run goes on beside this one.

    Where `KAFKA_BOOTSTRAP_SERVERS` or `MONGODB_URI` is set, that one is used.
    """
    for number in range(1, 10):
        folder = local_dir() / ("test" if number == 1 else f"test-{number}")
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "in-use.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            stack = LocalStack(folder, tied=True, progress=print_progress)
            stack.erase()  # what a run before left
            with stack:
                yield stack
            stack.erase()
            return
    raise RuntimeError(f"Nine other test runs use {local_dir()}.")
