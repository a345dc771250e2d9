"""A pytest plugin for the runs on mutants: they share the Kafka and MongoDB of the outer run.

`tests/conftest.py` imports `running_stack`. pytest loads this plugin before that file, which so gets ours.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import tests.support.stack
from deploy.local.stack import LocalStack, local_dir


class AttachedStack(LocalStack):
    """The stack that `KAFKA_BOOTSTRAP_SERVERS` and `MONGODB_URI` name; it cannot be stopped here."""

    @property
    def environment(self) -> dict[str, str]:
        """The settings by which our programs find this stack; its Kafka is one broker."""
        return super().environment | {"KAFKA_REPLICATION": "1"}


@contextmanager
def attached_stack() -> Iterator[LocalStack]:
    """The outer run's stack; it is left running."""
    yield AttachedStack(local_dir())


tests.support.stack.running_stack = attached_stack
