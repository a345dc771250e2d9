"""SIGTERM ends each service with status 0, at any moment from its first log line on."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.support import forks

from .kafka_world import eventually


@pytest.mark.parametrize("service", ["mail_ingest", "matcher", "tracking"])
async def test_sigterm_at_the_first_log_line_ends_a_service_with_status_0(
    service: str, tmp_path: Path
) -> None:
    """Kafka and MongoDB are away, so that the service waits for them at once."""
    log = tmp_path / "log"
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "MONGODB_URI": "mongodb://127.0.0.1:1/?replicaSet=rs0",
        "MAIL_INGEST_WEBHOOK_LISTEN": "127.0.0.1:0",
        "PORT": "0",
    }
    with log.open("wb") as file:
        running = forks.popen(f"services.{service}", env=environment, stderr=file)
    try:
        await eventually(log.read_text)
        running.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(running.wait, 30) == 0, log.read_text()
    finally:
        if running.poll() is None:
            running.kill()
