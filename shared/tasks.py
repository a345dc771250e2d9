"""Background tasks: an end before they are stopped is an error."""

import asyncio
from typing import Any


class TaskEndedError(Exception):
    """A background task returned, or was cancelled, although nobody stopped it."""


def error_of_end(task: "asyncio.Future[Any]") -> BaseException:
    """Why a task that runs until it is stopped is done: its own error, or a `TaskEndedError`."""
    return error_of(task) or TaskEndedError(f"the task {_name(task)} ended, although nobody stopped it")


def error_of(task: "asyncio.Future[Any]") -> BaseException | None:
    """The error of a task that may return: its own, or a `TaskEndedError` when it was cancelled."""
    try:
        task.result()
    except asyncio.CancelledError as cancelled:
        error = TaskEndedError(f"the task {_name(task)} was cancelled, although nobody stopped it")
        error.__cause__ = cancelled
        return error
    except BaseException as error:  # noqa: BLE001  # the caller handles it
        return error
    return None


def _name(task: "asyncio.Future[Any]") -> str:
    return task.get_name() if isinstance(task, asyncio.Task) else "of a consumer"
