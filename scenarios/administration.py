"""A client of the administration interface of mail-ingest."""

import time
from typing import Any

import httpx2

from deploy.local.system import System

UNAVAILABLE_SECONDS = 60.0
"""So long a call is repeated while mail-ingest answers 503: its store is late, or it is being recovered."""
RETRY_SECONDS = 1.0


class Administration:
    """Enrols mailboxes of a tenant, and lists them."""

    def __init__(self, system: System, tenant: str) -> None:
        self._tenant = tenant
        self._http = httpx2.Client(
            base_url=system["mail-ingest"].url,
            headers={"Authorization": f"Bearer {system.service_token}"},
            timeout=60,
            trust_env=False,
            verify=False,  # plain HTTP: to load the CA certificates takes 40 ms of CPU
        )

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def enrol(self, mailbox: str) -> None:
        """Start the capture of a mailbox, given by object id or user principal name of its owner."""
        self.call("POST", json={"tenant": self._tenant, "mailbox": mailbox})

    def mailboxes(self) -> list[dict[str, Any]]:
        """The state of each mailbox; `items` is the number of captured items."""
        listed: list[dict[str, Any]] = []
        cursor: dict[str, Any] = {"tenant": self._tenant, "limit": 500}
        while True:
            page = self.call("GET", params=cursor)
            listed += page["mailboxes"]
            if page["next"] is None:
                return listed
            cursor["after"] = page["next"]

    def call(self, method: str, path: str = "", **more: Any) -> Any:
        """The answer to a call of `/mailboxes` or a path below it; any of these may be repeated."""
        deadline = time.monotonic() + UNAVAILABLE_SECONDS
        while True:
            response = self._http.request(method, f"/mailboxes{path}", **more)
            if response.status_code != httpx2.codes.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                return response.raise_for_status().json()
            time.sleep(RETRY_SECONDS)
