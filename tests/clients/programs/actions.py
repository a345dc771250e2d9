"""The actions of a program and the loop that runs them: one JSON object per line in, one out."""

import inspect
import json
import sys
import traceback
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

Action = TypeVar("Action", bound=Callable[..., Any])


class Actions:
    """The actions of one program, by name; `@actions` before a function adds it."""

    def __init__(self) -> None:
        self._by_name: dict[str, Callable[..., Any]] = {}

    def __call__(self, action: Action) -> Action:
        self._by_name[action.__name__] = action
        return action

    def run(self, await_result: Callable[[Any], Any] | None = None) -> None:
        """Run actions until the input ends; `await_result` runs a coroutine to its end."""
        for line in sys.stdin:
            request = json.loads(line)
            try:
                result = self._by_name[request.pop("action")](**request)
                if await_result and inspect.isawaitable(result):
                    result = await_result(result)
                response = {"result": result}
            except Exception:  # noqa: BLE001 - the test fails by it
                response = {"failure": traceback.format_exc()}
            sys.stdout.write(json.dumps(response, default=_as_json) + "\n")
            sys.stdout.flush()


def _as_json(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
