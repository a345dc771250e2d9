"""HTTP of the processes that a test starts: a port for each, and the JSON of their routes."""

import asyncio
import json
from collections import deque
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from deploy.local.processes import choose_port

_CHOSEN: deque[int] = deque(maxlen=100)
"""Ports that were chosen last; their processes may not listen yet."""


def spare_port() -> int:
    """A free port of this worker, which no outgoing connection takes before the process listens."""
    _CHOSEN.append(choose_port(0, _CHOSEN))
    return _CHOSEN[-1]


async def read_json(url: str) -> tuple[int, Any]:
    """Status and JSON of a route; (0, {}) when there is no answer."""

    def read() -> tuple[int, Any]:
        try:
            with urlopen(url, timeout=5) as response:
                return response.status, json.load(response)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:
            return 0, {}

    return await asyncio.to_thread(read)
