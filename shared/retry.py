"""Retries while a system that we need is unavailable, with one log line for each outage."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from .errors import RetryableError

T = TypeVar("T")

RETRY_PAUSE = timedelta(seconds=0.5)


class OutageLog:
    """Logs the begin and the end of an outage, and none of the failures in between.

    Args:
        log: the logger of the module that retries.
        failure: the event, such as `waiting for MongoDB`.
        fields: logged with each line.
    """

    def __init__(self, log: logging.Logger, failure: str, **fields: object) -> None:
        self._log = log
        self._failure = failure
        self._fields = fields
        self._ongoing = False

    def failed(self, error: Exception) -> None:
        """Logs the first failure of an outage."""
        if not self._ongoing:
            self._log.warning(self._failure, extra=self._fields | {"error": str(error)})
        self._ongoing = True

    def succeeded(self) -> None:
        """Logs the end of an outage."""
        if self._ongoing:
            self._log.info("%s: available again", self._failure, extra=self._fields)
        self._ongoing = False


async def retry_until_available(
    action: Callable[[], Awaitable[T]], outage: OutageLog, pause: timedelta = RETRY_PAUSE
) -> T:
    """Calls `action` until it raises no RetryableError, and returns its result."""
    while True:
        try:
            result = await action()
        except RetryableError as error:
            outage.failed(error)
            await asyncio.sleep(pause.total_seconds())
        else:
            outage.succeeded()
            return result
