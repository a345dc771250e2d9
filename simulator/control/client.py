"""A client of a running simulator: its control interface, and sign-ins as a browser does them."""

import secrets
import ssl
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

from simulator.state.tenants import API_CLIENT_ID, CAPTURE_CLIENT_ID, CAPTURE_CLIENT_SECRET, TIMELINE_SCOPE

CONTROL_TIMEOUT = 300.0
"""Seconds; an archive takes up to minutes to load."""


class ControlError(Exception):
    """The simulator rejected a call; the message has its status and text."""


class Simulator:
    """A running simulator.

    Args:
        url: its address, such as https://localhost:18443.
        ca: the certificate of its CA, `ca.pem` in its folder.
    """

    def __init__(self, url: str, ca: Path | str) -> None:
        self.url = url.rstrip("/")
        context = ssl.create_default_context(cafile=str(ca))
        self.http = httpx2.Client(base_url=self.url, verify=context, timeout=30.0, trust_env=False)

    def close(self) -> None:
        """Close its connections."""
        self.http.close()

    def is_ready(self) -> bool:
        """Whether it responds."""
        try:
            return self.http.get("/health/ready", timeout=2.0).status_code == 200
        except httpx2.HTTPError:
            return False

    # the whole world

    def tenant(self, tenant_id: str | None = None, **properties: Any) -> "TenantControl":
        """A tenant, created if it does not exist; properties: `name`, `domain`."""
        created = self.call("POST", "/tenants", id=tenant_id, **properties)
        return TenantControl(self, created["id"])

    def counters(self, *, items: bool = False) -> dict[str, Any]:
        """Graph requests by kind, notifications by outcome; with `items` the items never fetched."""
        counters: dict[str, Any] = self.call("GET", "/counters?items=1" if items else "/counters")
        return counters

    def reset_counters(self) -> None:
        """Set all counters to zero."""
        self.call("DELETE", "/counters")

    def fault(self, status: int, **selection: Any) -> None:
        """Inject responses: `code`, `message`, `body`, `headers`, `retry_after`.

        `tenant`, `mailbox`, `item`, `subscription`, `kind`, `count`, `seconds` and `rate` limit them; `label`
        counts them.
        """
        self.call("POST", "/faults", status=status, **selection)

    def fault_hits(self) -> list[dict[str, Any]]:
        """The requests that faults with a label have answered: `at`, `label`, `kind`, `mailbox`, `items`."""
        hits: list[dict[str, Any]] = self.call("GET", "/faults/hits")
        return hits

    def clear_faults(self) -> None:
        """Remove all faults of requests, of pages and of notifications."""
        self.call("DELETE", "/faults")

    def delivery(self, **faults: Any) -> None:
        """Change notification delivery: `loss`, `duplicates`, `reorder`, `delay`, `followed_by_updated`."""
        self.call("POST", "/faults/delivery", **faults)

    def delivery_rules(self, **rules: Any) -> None:
        """Change numbers of delivery, as in `DeliveryRules`; `speed` divides the durations."""
        self.call("POST", "/delivery", **rules)

    def pages(self, **faults: Any) -> None:
        """Change the shares of `short` and `empty` pages of collections; both go on with a next link."""
        self.call("POST", "/faults/pages", **faults)

    def limits(self, **limits: Any) -> None:
        """Change `max_concurrent`, `max_in_window`, `max_writes`; in seconds `latency` and `retry_base`."""
        self.call("POST", "/limits", **limits)

    def open_ports(self) -> set[int]:
        """The ports of the clients that wait for a response of Graph now."""
        return set(self.call("GET", "/requests/open")["ports"])

    def start_history(self) -> None:
        """Record every state of items and folders from now on, beginning with the present ones."""
        self.call("POST", "/history")

    def history(self) -> Iterator[dict[str, Any]]:
        """The recorded states, in their order: `at`, `tenant`, `mailbox`, `item`, `state`."""
        after = 0
        while True:
            page = self.call("GET", f"/history?after={after}")
            yield from page["entries"]
            after = page["next"]
            if not page["entries"]:
                return

    def roll_keys(self, *, forget_old: bool = False) -> str:
        """Generate a new signing key; return its key id."""
        return str(self.call("POST", "/keys/roll", forget_old=forget_old)["kid"])

    def subscriptions(self) -> list[dict[str, Any]]:
        """All live subscriptions."""
        subscriptions: list[dict[str, Any]] = self.call("GET", "/subscriptions")
        return subscriptions

    def lifecycle(self, event: str, **selection: Any) -> int:
        """Send missed, subscriptionRemoved or reauthorizationRequired for `subscription` or `mailbox`."""
        return int(self.call("POST", "/subscriptions/lifecycle", event=event, **selection)["sent"])

    def forget_subscriptions(self, **selection: Any) -> int:
        """Remove the subscriptions of a `mailbox`, or all, without a notification; return their number."""
        return int(self.call("POST", "/subscriptions/forget", **selection)["removed"])

    def call(self, method: str, path: str, **body: Any) -> Any:
        """One call of the control interface.

        Raises:
            ControlError: the simulator rejected the call.
        """
        content = {name: value for name, value in body.items() if value is not None}
        response = self.http.request(method, "/control" + path, json=content or None, timeout=CONTROL_TIMEOUT)
        if response.status_code != 200:
            raise ControlError(f"{method} {path}: {response.status_code} {response.text}")
        return response.json()


class TenantControl:
    """One tenant of a running simulator."""

    def __init__(self, simulator: Simulator, tenant_id: str) -> None:
        self.simulator = simulator
        self.id = tenant_id

    @property
    def authority(self) -> str:
        """The authority URL for msal."""
        return f"{self.simulator.url}/{self.id}"

    def show(self) -> dict[str, Any]:
        """The tenant, its applications and users."""
        tenant: dict[str, Any] = self.simulator.call("GET", f"/tenants/{self.id}")
        return tenant

    def conditional_access(self, blocks: bool) -> None:
        """Set whether a conditional access policy blocks tokens of applications."""
        self.simulator.call("PATCH", f"/tenants/{self.id}", conditional_access=blocks)

    def revoke_tokens(self) -> None:
        """Make Graph challenge the tokens of applications that can respond to a claims challenge."""
        self.do("/tokens/revoke")

    def app(self, client_id: str, **properties: Any) -> None:
        """Add or change a registration: secrets, certificates, redirects, roles, scope."""
        self.do("/apps", client_id=client_id, **properties)

    def grant(self, role: str, mailboxes: list[str] | None = None, **properties: Any) -> None:
        """Let Exchange grant the capturing application (or `client_id`) a role on mailboxes, or on all.

        An empty role removes the grants. They take effect after `seconds`.
        """
        self.do("/grants", **{"client_id": CAPTURE_CLIENT_ID, **properties}, role=role, mailboxes=mailboxes)

    def user(self, address: str, **properties: Any) -> dict[str, Any]:
        """Add a user: name, oid, upn, roles, groups, groups_overage, mailbox, other_addresses."""
        user: dict[str, Any] = self.do("/users", address=address, **properties)
        return user

    def change_user(self, user: str, **changes: Any) -> None:
        """Change a user's name, roles, groups, groups_overage, retry_after."""
        self.simulator.call("PATCH", f"/tenants/{self.id}/users", user=user, **changes)

    def block(self, user: str, why: str, retry_after: int = 10) -> None:
        """Close a mailbox: access-policy (403), no-licence or removed (404), throttled (429)."""
        self.change_user(user, block=why, retry_after=retry_after)

    def unblock(self, user: str) -> None:
        """Open a mailbox again."""
        self.change_user(user, block="")

    def remove_user(self, user: str) -> None:
        """Remove a user from the directory."""
        self.simulator.call("DELETE", f"/tenants/{self.id}/users", user=user)

    def send(self, sender: str | dict[str, str], to: list[Any], **mail: Any) -> dict[str, Any]:
        """Send a mail: cc, bcc, subject, text or html, sent, internet_message_id, sensitivity.

        Returns:
            `internet_message_id`, and `copies`, each with `mailbox`, `id`, `folder`.
        """
        sent: dict[str, Any] = self.do("/mail", **{"from": sender}, to=to, **mail)
        return sent

    def book(
        self, organizer: str | dict[str, str], attendees: list[Any], start: str, **meeting: Any
    ) -> dict[str, Any]:
        """Book a meeting: end, optional, subject, text, location, rule, zone, sensitivity, all_day.

        Returns:
            `uid`, and `copies`, each with `mailbox` and `id`.
        """
        body = {"organizer": organizer, "attendees": attendees, "start": start, **meeting}
        booked: dict[str, Any] = self.do("/meetings", **body)
        return booked

    def change_meeting(self, uid: str, **changes: Any) -> dict[str, Any]:
        """Change start, end, subject, text, attendees, location; of one occurrence: original_start."""
        changed: dict[str, Any] = self.do("/meetings/change", uid=uid, **changes)
        return changed

    def cancel(self, uid: str, original_start: str | None = None) -> None:
        """Cancel a meeting, or one occurrence, as its organizer; attendees keep it marked as cancelled."""
        self.do("/meetings/cancel", uid=uid, original_start=original_start)

    def delete_event(self, mailbox: str, uid: str, original_start: str | None = None) -> None:
        """Delete a mailbox's copy of a meeting, or one occurrence of it."""
        self.do("/meetings/delete", mailbox=mailbox, uid=uid, original_start=original_start)

    def respond(self, mailbox: str, uid: str, response: str) -> None:
        """Respond to a meeting: accepted, tentativelyAccepted or declined."""
        self.do("/meetings/respond", mailbox=mailbox, uid=uid, response=response)

    def move(self, mailbox: str, item: str, folder: str) -> dict[str, Any]:
        """Move a message to another folder."""
        moved: dict[str, Any] = self.do("/messages/move", mailbox=mailbox, id=item, folder=folder)
        return moved

    def delete(self, mailbox: str, item: str, *, hard: bool = False) -> None:
        """Move a message to Deleted Items, or delete it permanently."""
        self.do("/messages/delete", mailbox=mailbox, id=item, hard=hard)

    def put(self, mailbox: str, **message: Any) -> dict[str, Any]:
        """Create a message in one folder of one mailbox: from, to, subject, folder, draft, received."""
        created: dict[str, Any] = self.do("/messages", mailbox=mailbox, **message)
        return created

    def mailbox(self, user: str) -> dict[str, Any]:
        """The content of a mailbox: folders, messages, events."""
        content: dict[str, Any] = self.do("/mailbox", mailbox=user)
        return content

    def do(self, path: str, **body: Any) -> Any:
        """Run any action on this tenant, such as /messages/change or /folders."""
        return self.simulator.call("POST", f"/tenants/{self.id}{path}", **body)

    # archives

    def load_archive(
        self, mail: Path | str | None = None, meetings: Path | str | None = None
    ) -> list[dict[str, Any]]:
        """Load folders without delivering items.

        Returns:
            For each mailbox `name`, `oid`, `address`, `messages`, `meetings`.
        """
        paths = {
            name: str(Path(path).resolve())
            for name, path in (("mail", mail), ("meetings", meetings))
            if path is not None
        }
        mailboxes: list[dict[str, Any]] = self.do("/archive", **paths)
        return mailboxes

    def archive(self) -> list[dict[str, Any]]:
        """The mailboxes of the archive, each with the counts `released` and `remaining`."""
        mailboxes: list[dict[str, Any]] = self.simulator.call("GET", f"/tenants/{self.id}/archive")
        return mailboxes

    def release(self, mailbox: str | None = None, count: int | None = None) -> dict[str, int]:
        """Deliver the next items of a mailbox (name or oid) or of all; return `released`, `remaining`."""
        counts: dict[str, int] = self.do("/archive/release", mailbox=mailbox, count=count)
        return counts

    # tokens

    def mint(self, user: str, kind: str = "valid", **properties: Any) -> str:
        """A user's access token without a sign-in; the invalid kinds are `INVALID_TOKEN_KINDS`."""
        return str(self.do("/tokens", user=user, kind=kind, **properties)["access_token"])

    def app_token(self, client_id: str = CAPTURE_CLIENT_ID, secret: str = CAPTURE_CLIENT_SECRET) -> str:
        """An application's token for Graph, from the token endpoint."""
        form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": secret,
            "scope": "https://graph.microsoft.com/.default",
        }
        response = self.simulator.http.post(f"/{self.id}/oauth2/v2.0/token", data=form)
        response.raise_for_status()
        return str(response.json()["access_token"])

    def sign_in(
        self,
        user: str,
        *,
        client_id: str = API_CLIENT_ID,
        api: str = API_CLIENT_ID,
        redirect_uri: str = "http://localhost/",
    ) -> str:
        """A user's access token for the API, by the authorization code flow of a browser, with PKCE.

        Raises:
            ControlError: the authority did not return a code.
        """
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
        digest = sha256(verifier.encode()).digest()
        parameters = {
            "client_id": client_id,
            "response_type": "code",
            "redirect_uri": redirect_uri,
            "scope": f"api://{api}/{TIMELINE_SCOPE} openid profile offline_access",
            "state": state,
            "code_challenge": urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
            "prompt": "none",
            "login_hint": user,
        }
        page = self.simulator.http.get(f"/{self.id}/oauth2/v2.0/authorize", params=parameters)
        returned = parse_qs(urlsplit(page.headers.get("location", "")).query)
        if returned.get("state") != [state] or "code" not in returned:
            raise ControlError(f"sign-in of {user}: {page.status_code} {returned or page.text}")
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(redirect_uri))
        response = self.simulator.http.post(
            f"/{self.id}/oauth2/v2.0/token",
            headers={"origin": origin},
            data={
                "grant_type": "authorization_code",
                "client_id": client_id,
                "code": returned["code"][0],
                "redirect_uri": redirect_uri,
                "code_verifier": verifier,
            },
        )
        response.raise_for_status()
        return str(response.json()["access_token"])
