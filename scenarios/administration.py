"""A client of the administration interface of mail-ingest."""

from typing import Any

import httpx2

from deploy.local.system import System


class Administration:
    """Enrols mailboxes of a tenant, and lists them."""

    def __init__(self, system: System, tenant: str) -> None:
        self._tenant = tenant
        self._http = httpx2.Client(
            base_url=system["mail-ingest"].url,
            headers={"Authorization": f"Bearer {system.service_token}"},
            timeout=60,
            trust_env=False,
        )

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def enrol(self, mailbox: str) -> None:
        """Start the capture of a mailbox, given by object id or user principal name of its owner."""
        body = {"tenant": self._tenant, "mailbox": mailbox}
        self._http.post("/mailboxes", json=body).raise_for_status()

    def mailboxes(self) -> list[dict[str, Any]]:
        """The state of each mailbox; `items` is the number of captured items."""
        listed: list[dict[str, Any]] = []
        cursor: dict[str, Any] = {"tenant": self._tenant, "limit": 500}
        while True:
            page = self._http.get("/mailboxes", params=cursor).raise_for_status().json()
            listed += page["mailboxes"]
            if page["next"] is None:
                return listed
            cursor["after"] = page["next"]
