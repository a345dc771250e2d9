"""A record of every Graph answer with its type, so that a checker can read them afterwards."""

from pathlib import Path
from threading import Lock
from typing import Any

import orjson

ERROR, BATCH = "error", "batch"
"""Kinds of answers that Graph's schema has no type for."""


class Recorder:
    """Appends answers to one file of JSON lines a type; without a folder it does nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._lock = Lock()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def record(self, kind: str, body: Any) -> None:
        """One answer of a type: message, event, mailFolder, user, subscription, error."""
        if self._folder is None or body is None or not kind:
            return
        with self._lock, (self._folder / f"{kind}.jsonl").open("ab") as file:
            file.write(orjson.dumps(body) + b"\n")
