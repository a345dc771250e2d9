"""mail-ingest as its administrator sees it, by its internal port."""

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
            timeout=30,
            trust_env=False,
        )

    def enrol(self, mailbox: str) -> None:
        """Has a mailbox captured, by its owner's object id or user principal name."""
        self._http.post("/mailboxes", json={"tenant": self._tenant, "mailbox": mailbox}).raise_for_status()

    def mailboxes(self) -> list[dict[str, Any]]:
        """Each mailbox's state, and how many `items` of it are captured."""
        return list(self._http.get("/mailboxes", params={"tenant": self._tenant}).raise_for_status().json())
