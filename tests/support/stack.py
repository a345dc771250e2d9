"""The real Kafka and MongoDB of one test worker, in a folder that no other worker and no other run uses."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.local.processes import local_dir, print_progress
from deploy.local.stack import LocalStack

MOST_STACKS = 40


@contextmanager
def running_stack() -> Iterator[LocalStack]:
    """An empty stack that only this worker uses, whatever other workers and other runs do.

    Where `KAFKA_BOOTSTRAP_SERVERS` or `MONGODB_URI` is set, that one is used.
    """
    for number in range(1, MOST_STACKS + 1):
        folder = local_dir() / ("test" if number == 1 else f"test-{number}")
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "in-use.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            # Not the usual ports: another worker's test may take them while a test here has killed Kafka.
            stack = LocalStack(folder, tied=True, usual_ports=False, progress=print_progress)
            stack.erase()  # an interrupted run may have left data
            with stack:
                yield stack
            stack.erase()
            return
    raise RuntimeError(f"{MOST_STACKS} other test workers use {local_dir()}.")
