"""Recordings of all Graph responses with their types, for the check against Graph's schema."""

from pathlib import Path
from threading import Lock
from typing import Any

import orjson

ERROR, BATCH = "error", "batch"
"""Kinds of responses without a type in Graph's schema."""


class Recorder:
    """Appends responses to one file of JSON lines for each type; without a folder it records nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._lock = Lock()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def record(self, kind: str, body: Any) -> None:
        """Record a response of a type: message, event, mailFolder, user, subscription, error and so on."""
        if self._folder is None or body is None or not kind:
            return
        with self._lock, (self._folder / f"{kind}.jsonl").open("ab") as file:
            file.write(orjson.dumps(body) + b"\n")
