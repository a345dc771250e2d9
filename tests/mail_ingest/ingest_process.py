"""One replica of mail-ingest in a process of its own."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx2

from tests.support import forks
from tests.support.http import spare_port

SERVICE_TOKEN = "a-service-token-for-tests"
START_TIMEOUT = 60.0


class IngestProcess:
    """One replica of mail-ingest, in its own process."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        port, webhook_port = spare_port(), spare_port()
        self.environment = {
            **environment,
            "PORT": str(port),
            "MAIL_INGEST_WEBHOOK_LISTEN": f"127.0.0.1:{webhook_port}",
            "INSTANCE": log.stem,
        }
        self.url = f"http://127.0.0.1:{port}"
        self.webhook_url = f"http://127.0.0.1:{webhook_port}"
        self.environment.setdefault("MAIL_INGEST_WEBHOOK_URL", self.webhook_url)
        self.log = log
        self._process: forks.ForkedProcess | None = None
        self._http = httpx2.Client(timeout=10.0, trust_env=False, verify=False)

    def run_to_end(self) -> int:
        """Starts it, and returns its exit status."""
        return self._popen().wait(START_TIMEOUT)

    def _popen(self) -> forks.ForkedProcess:
        with self.log.open("ab") as log:
            env = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
            self._process = forks.popen(
                "services.mail_ingest", env={**env, **self.environment}, stderr=log, stdout=log
            )
        return self._process

    def start(self) -> "IngestProcess":
        """Starts it, and waits until it is ready."""
        process = self._popen()
        deadline = time.monotonic() + START_TIMEOUT
        while not self._is_ready():
            assert process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        return self

    def _is_ready(self) -> bool:
        try:
            return self._http.get(f"{self.url}/health/ready").status_code == 200
        except httpx2.TransportError:
            return False

    @property
    def pid(self) -> int:
        """The id of its process."""
        assert self._process
        return self._process.pid

    def signal(self, number: int) -> None:
        """Sends a signal, such as SIGSTOP."""
        assert self._process
        self._process.send_signal(number)

    def kill(self) -> None:
        """Sends SIGKILL, and waits for the end."""
        self.signal(signal.SIGKILL)
        assert self._process
        self._process.wait()

    def stop(self) -> int:
        """Sends SIGTERM, and returns the exit status."""
        self.signal(signal.SIGTERM)
        assert self._process
        return self._process.wait(15)

    def end(self) -> None:
        """Ends it in any state."""
        if self._process and self._process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()
        self._http.close()

    def call(self, method: str, path: str, token: str | None = SERVICE_TOKEN, **body: Any) -> httpx2.Response:
        """Calls the internal port, again while it answers 503: on a busy machine MongoDB is late."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        deadline = time.monotonic() + 20
        while True:
            response = self._http.request(method, self.url + path, headers=headers, json=body or None)
            if response.status_code != httpx2.codes.SERVICE_UNAVAILABLE:
                return response
            assert time.monotonic() < deadline, response.text
            time.sleep(0.1)

    def status(self) -> dict[str, Any]:
        """Its counts."""
        status: dict[str, Any] = self.call("GET", "/status").json()
        return status

    def work(self) -> dict[str, int]:
        """The work that is still to be done, as `/status` counts it."""
        status = self.status()
        lag = sum(count for name, count in status.items() if name.endswith(" lag"))
        return {**status["waiting"], "lag": lag}

    def is_idle(self) -> bool:
        """True when there is no work."""
        work = self.work()
        names = (
            "lag",
            "notified items waiting",
            "content requests waiting",
            "mailboxes with work",
            "leases held",
            "publish pending items",
            "publish pending mailboxes",
        )
        return not any(work[name] for name in names)

    def metrics(self) -> str:
        return self._http.get(f"{self.url}/metrics").text

    def metric(self, name: str) -> float:
        """A metric, summed over its labels."""
        samples = (line.rpartition(" ") for line in self.metrics().splitlines())
        return sum(float(value) for sample, _, value in samples if sample.partition("{")[0] == name)
