"""The work that the system has not finished, as counted by `/status` of each process."""

from collections.abc import Iterator, Mapping
from typing import Any

from deploy.local.processes import LocalError

BACKLOG_KEYS: Mapping[str, tuple[str, ...]] = {
    "mail-ingest": (
        "graph-notifications lag",
        "content-requests lag",
        "waiting.mailboxes with work",
        "waiting.notified items waiting",
        "waiting.items not found yet",
        "waiting.publish pending items",
    ),
    "matcher": ("records waiting", "activities lag", "partitions restoring", "matches pending"),
    "tracking": (
        "records lag",
        "mailboxes lag",
        "matches lag",
        "content lag",
        "open track requests",
        "publish pending track requests",
        "republications",
        "publish pending tracked activities",
        "publish pending followed mailboxes",
    ),
}
"""Program -> keys of its flat `/status` that are 0 when it has no work, in the order of the data flow."""

PENDING_NOTIFICATIONS = "simulator.pending"
"""Key of the notifications that the simulator has not delivered yet."""


def flatten_status(status: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The counts of a `/status` response; a count in a group has the key `group.name`."""
    for name, value in status.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", count) for inner, count in flatten_status(value))
        else:
            yield name, value


def is_backlog_key(name: str) -> bool:
    """Whether `PROCESS.KEY` counts unfinished work; the process may be a replica such as `matcher-2`."""
    process, _, key = name.partition(".")
    return name == PENDING_NOTIFICATIONS or any(
        process.startswith(program) and key in keys for program, keys in BACKLOG_KEYS.items()
    )


def check_keys(counts: Mapping[str, Any], programs: Mapping[str, tuple[str, ...]] = BACKLOG_KEYS) -> None:
    """Check that the counts have every backlog key of the programs.

    Raises:
        LocalError: a key is missing, so that its work would be overlooked.
    """
    expected = [f"{name}.{key}" for name, keys in programs.items() for key in keys]
    if missing := [key for key in expected if key not in counts]:
        raise LocalError(f"/status does not contain {missing}")
