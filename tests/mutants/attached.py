"""A pytest plugin with which the runs on mutants use the Kafka and MongoDB of the outer run.

`tests/conftest.py` imports `running_stack`. pytest loads this plugin first, so that file imports the
replacement.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import tests.support.stack
from deploy.local.processes import local_dir
from deploy.local.stack import LocalStack


class AttachedStack(LocalStack):
    """The running stack at `KAFKA_BOOTSTRAP_SERVERS` and `MONGODB_URI`; this process does not own it."""

    @property
    def environment(self) -> dict[str, str]:
        """The settings with which the services connect to this stack; its Kafka is one broker."""
        return super().environment | {"KAFKA_REPLICATION": "1"}


@contextmanager
def attached_stack() -> Iterator[LocalStack]:
    """Yields the stack of the outer run, and leaves it running."""
    yield AttachedStack(local_dir())


tests.support.stack.running_stack = attached_stack
