"""A small service that writes the id of each processed activity to a file, one a line.

Its own variables: OUTPUT (the file), WORK (seconds a batch takes), MAX_RECORDS, END (how a loop ends early:
`raises`, `returns`, or the prefix of a task's name, which it cancels), OPEN_SECONDS (seconds that its store
takes to open).
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

from shared.broker import Batch, KafkaClient
from shared.clock import system_clock
from shared.http_limits import HttpLimits
from shared.http_server import HttpInterface
from shared.service import Service, StopSignal, run
from shared.settings import ServiceSettings, load_settings
from shared.store_wait import store_wait
from shared.telemetry import log_as_json
from shared.topics import ACTIVITIES, MATCHER

log = logging.getLogger(__name__)


async def create_app() -> Service:
    """Builds the service."""
    settings = load_settings(ServiceSettings)
    log_as_json(settings.log_level)
    output = Path(os.environ["OUTPUT"])
    work = float(os.environ.get("WORK", "0"))
    kafka = KafkaClient(settings, MATCHER, system_clock, settings.instance)

    async def on_activities(batch: Batch[Any, Any]) -> None:
        log.info("batch started", extra={"items": len(batch.messages)})
        await asyncio.sleep(work)
        lines = "".join(f"{message.key[-1]}\n" for message in batch.valid)
        await asyncio.to_thread(_append, output, lines)

    consumer = kafka.consumer(ACTIVITIES, max_records=int(os.environ.get("MAX_RECORDS", "500")))
    consumer.handle(on_activities)
    app = FastAPI()

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def forever() -> AsyncIterator[str]:
            while True:
                yield "still here\n"
                await asyncio.sleep(0.1)

        return StreamingResponse(forever())

    @app.get("/store-wait")
    async def wait() -> timedelta | None:
        return store_wait()

    @app.get("/{path:path}")
    async def page(path: str) -> str:
        return path

    @contextlib.asynccontextmanager
    async def store() -> AsyncIterator[None]:
        log.info("store opening")
        await asyncio.sleep(float(os.environ.get("OPEN_SECONDS", "0")))
        yield
        log.info("store closed")

    return Service(
        MATCHER,
        kafka,
        system_clock,
        http=[HttpInterface("api", settings.host, settings.port, app, HttpLimits.from_settings(settings))],
        loops={"loop": _loop},
        resources=store,
    )


async def _loop(stop_signal: StopSignal) -> None:
    end = os.environ.get("END")
    while not stop_signal:
        await stop_signal.sleep(timedelta(seconds=0.1))
        if end == "raises":
            raise RuntimeError("the loop failed")
        if end == "returns":
            return
        if end:
            for task in asyncio.all_tasks():
                if task.get_name().startswith(end):
                    task.cancel()


def _append(output: Path, lines: str) -> None:
    with output.open("a") as file:
        file.write(lines)


if __name__ == "__main__":
    run(create_app)
