"""Waits for what another process does."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

TIMEOUT = 40.0
"""Seconds that one step may take on a busy machine; a step that takes longer has failed."""


async def wait_until(
    condition: Callable[[], Any],
    seconds: float = TIMEOUT,
    failure: Callable[[], object] = lambda: "the condition did not become true in time",
    pause: float = 0.05,
) -> Any:
    """Waits until a condition, which may be a coroutine function, is true. Returns its result.

    Args:
        condition: called until its result is true.
        seconds: the longest wait.
        failure: returns the message of the AssertionError when the time has passed.
        pause: seconds between two calls.
    """
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if isinstance(result, Awaitable):
            result = await result
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(failure())
        await asyncio.sleep(pause)
