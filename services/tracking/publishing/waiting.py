"""How the loops of the outbox wait for work."""

import asyncio
import contextlib
from datetime import timedelta

from shared.service import StopSignal


async def wait_for_work(recorded: asyncio.Event, stop_signal: StopSignal, at_most: timedelta) -> None:
    """Waits until work is recorded, the service stops, or this time has passed."""
    work = asyncio.create_task(recorded.wait())
    pause = asyncio.create_task(stop_signal.sleep(at_most))
    await asyncio.wait({work, pause}, return_when=asyncio.FIRST_COMPLETED)
    for task in (work, pause):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
