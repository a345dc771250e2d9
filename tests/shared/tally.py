"""A little service: writes each activity that it has done into a book, a line each.

Its settings beside every service's: BOOK (a file), WORK (seconds a batch takes), MAX_RECORDS, FAILING (a loop fails after
so many seconds), OPENING (seconds that its store takes to open).
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from shared.broker import Batch, Kafka
from shared.clock import system_clock
from shared.service import Service, Stopping, run
from shared.settings import ServiceSettings, load
from shared.telemetry import log_as_json
from shared.topics import ACTIVITIES, MATCHER

log = logging.getLogger(__name__)


async def create_app() -> Service:
    """The service, ready to run."""
    settings = load(ServiceSettings)
    log_as_json(settings.log_level)
    book = Path(os.environ["BOOK"])
    work = float(os.environ.get("WORK", "0"))
    kafka = Kafka(settings, MATCHER, system_clock, settings.instance)

    async def on_activities(batch: Batch[Any]) -> None:
        log.info("begun", extra={"items": len(batch.messages)})
        await asyncio.sleep(work)
        await asyncio.to_thread(_write, book, "".join(f"{message.key[-1]}\n" for message in batch.good))

    kafka.subscribe(ACTIVITIES, on_activities, max_records=int(os.environ.get("MAX_RECORDS", "500")))
    app = FastAPI()

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def forever() -> AsyncIterator[str]:
            while True:
                yield "still here\n"
                await asyncio.sleep(0.1)

        return StreamingResponse(forever())

    @app.get("/{path:path}")
    async def page(path: str) -> str:
        return path

    async def loop(stopping: Stopping) -> None:
        while not stopping:
            await stopping.sleep(timedelta(seconds=float(os.environ.get("FAILING", "1"))))
            if "FAILING" in os.environ:
                raise RuntimeError("the loop failed")

    @contextlib.asynccontextmanager
    async def store() -> AsyncIterator[None]:
        log.info("opened")
        await asyncio.sleep(float(os.environ.get("OPENING", "0")))
        yield
        log.info("closed")

    return Service(
        MATCHER,
        kafka,
        system_clock,
        http=[(settings.host, settings.port, app)],
        loops={"loop": loop},
        open=store,
    )


def _write(book: Path, lines: str) -> None:
    with book.open("a") as open_:
        open_.write(lines)


if __name__ == "__main__":
    run(create_app)
