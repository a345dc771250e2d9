"""A small client of a running simulator: its control API, and sign-ins as a browser makes them."""

import secrets
import ssl
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

from simulator.state.tenants import API_CLIENT_ID, CAPTURE_CLIENT_ID, CAPTURE_CLIENT_SECRET, TIMELINE_SCOPE

LOADING = 300.0
"""Seconds that an archive may take to load."""


class ControlError(Exception):
    """The simulator refused what it was told to do."""


class Simulator:
    """A running simulator.

    Args:
        url: where it listens, such as https://localhost:18443.
        ca: its CA's certificate, `ca.pem` in its folder.
    """

    def __init__(self, url: str, ca: Path | str) -> None:
        self.url = url.rstrip("/")
        context = ssl.create_default_context(cafile=str(ca))
        self.http = httpx2.Client(base_url=self.url, verify=context, timeout=30.0, trust_env=False)

    def close(self) -> None:
        """Close its connections."""
        self.http.close()

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            return self.http.get("/health/ready", timeout=2.0).status_code == 200
        except httpx2.HTTPError:
            return False

    # the whole world

    def tenant(self, tenant_id: str | None = None, **about: Any) -> "TenantControl":
        """A tenant, made if it is not there: `name`, `domain`."""
        made = self.call("POST", "/tenants", id=tenant_id, **about)
        return TenantControl(self, made["id"])

    def counters(self, *, items: bool = False) -> dict[str, Any]:
        """Graph requests by kind, notifications by fate; with `items` what was never fetched."""
        found: dict[str, Any] = self.call("GET", "/counters?items=1" if items else "/counters")
        return found

    def reset_counters(self) -> None:
        """All counters to zero."""
        self.call("DELETE", "/counters")

    def fault(self, status: int, **which: Any) -> None:
        """Wrong answers: `count`, `rate`, `retry_after`, `mailbox`, `kind`."""
        self.call("POST", "/faults", status=status, **which)

    def clear_faults(self) -> None:
        """No faults any more, of requests and of notifications."""
        self.call("DELETE", "/faults")

    def delivery(self, **how: Any) -> None:
        """Notifications: `loss`, `duplicates`, `reorder`, `delay`, `followed_by_updated`."""
        self.call("POST", "/delivery", **how)

    def limits(self, **to: Any) -> None:
        """`at_once`, `in_window`, `latency` and `retry_base` in seconds."""
        self.call("POST", "/limits", **to)

    def roll_keys(self, *, forget_old: bool = False) -> str:
        """A new signing key; its kid."""
        return str(self.call("POST", "/keys/roll", forget_old=forget_old)["kid"])

    def subscriptions(self) -> list[dict[str, Any]]:
        """All live subscriptions."""
        found: list[dict[str, Any]] = self.call("GET", "/subscriptions")
        return found

    def lifecycle(self, event: str, **which: Any) -> int:
        """missed, subscriptionRemoved or reauthorizationRequired, for `subscription`, `mailbox`."""
        return int(self.call("POST", "/subscriptions/lifecycle", event=event, **which)["sent"])

    def forget_subscriptions(self, **which: Any) -> int:
        """Subscriptions gone without a word, of a `mailbox` or all."""
        return int(self.call("POST", "/subscriptions/forget", **which)["gone"])

    def call(self, method: str, path: str, **body: Any) -> Any:
        """One call of the control API."""
        content = {name: value for name, value in body.items() if value is not None}
        answer = self.http.request(method, "/control" + path, json=content or None, timeout=LOADING)
        if answer.status_code != 200:
            raise ControlError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json()


class TenantControl:
    """One tenant of a running simulator."""

    def __init__(self, simulator: Simulator, tenant_id: str) -> None:
        self.simulator = simulator
        self.id = tenant_id

    @property
    def authority(self) -> str:
        """The authority to give to msal."""
        return f"{self.simulator.url}/{self.id}"

    def show(self) -> dict[str, Any]:
        """The tenant, its applications and users."""
        found: dict[str, Any] = self.simulator.call("GET", f"/tenants/{self.id}")
        return found

    def conditional_access(self, blocks: bool) -> None:
        """Whether applications get tokens no longer."""
        self.simulator.call("PATCH", f"/tenants/{self.id}", conditional_access=blocks)

    def app(self, client_id: str, **about: Any) -> None:
        """A registration, new or changed: secrets, certificates, redirects, roles, scope."""
        self.do("/apps", client_id=client_id, **about)

    def user(self, address: str, **about: Any) -> dict[str, Any]:
        """A new user: name, oid, upn, roles, groups, groups_overage, mailbox, other_addresses."""
        made: dict[str, Any] = self.do("/users", address=address, **about)
        return made

    def change_user(self, user: str, **changes: Any) -> None:
        """Her name, roles, groups, groups_overage, retry_after."""
        self.simulator.call("PATCH", f"/tenants/{self.id}/users", user=user, **changes)

    def block(self, user: str, why: str, retry_after: int = 10) -> None:
        """Close a mailbox: access-policy (403), no-licence or removed (404), throttled (429)."""
        self.change_user(user, block=why, retry_after=retry_after)

    def unblock(self, user: str) -> None:
        """Open a mailbox again."""
        self.change_user(user, block="")

    def remove_user(self, user: str) -> None:
        """A user gone from the directory."""
        self.simulator.call("DELETE", f"/tenants/{self.id}/users", user=user)

    def send(self, sender: str | dict[str, str], to: list[Any], **mail: Any) -> dict[str, Any]:
        """A mail: cc, bcc, subject, text or html, sent, internet_message_id, sensitivity.

        The answer has `internet_message_id` and `copies`, each with `mailbox`, `id`, `folder`.
        """
        made: dict[str, Any] = self.do("/mail", **{"from": sender}, to=to, **mail)
        return made

    def book(
        self, organizer: str | dict[str, str], attendees: list[Any], start: str, **meeting: Any
    ) -> dict[str, Any]:
        """A meeting: end, optional, subject, text, location, rule, zone, sensitivity, all_day.

        The answer has `uid` and `copies`, each with `mailbox` and `id`.
        """
        asked = {"organizer": organizer, "attendees": attendees, "start": start, **meeting}
        made: dict[str, Any] = self.do("/meetings", **asked)
        return made

    def change_meeting(self, uid: str, **changes: Any) -> dict[str, Any]:
        """start, end, subject, text, attendees, location; of one occurrence: original_start."""
        made: dict[str, Any] = self.do("/meetings/change", uid=uid, **changes)
        return made

    def cancel(self, uid: str, original_start: str | None = None) -> None:
        """A meeting, or one occurrence, cancelled by its organizer."""
        self.do("/meetings/cancel", uid=uid, original_start=original_start)

    def delete_event(self, mailbox: str, uid: str, original_start: str | None = None) -> None:
        """A mailbox's own copy of a meeting, or one occurrence of it, deleted."""
        self.do("/meetings/delete", mailbox=mailbox, uid=uid, original_start=original_start)

    def respond(self, mailbox: str, uid: str, response: str) -> None:
        """accepted, tentativelyAccepted or declined."""
        self.do("/meetings/respond", mailbox=mailbox, uid=uid, response=response)

    def move(self, mailbox: str, item: str, folder: str) -> dict[str, Any]:
        """A message into another folder."""
        moved: dict[str, Any] = self.do("/messages/move", mailbox=mailbox, id=item, folder=folder)
        return moved

    def delete(self, mailbox: str, item: str, *, hard: bool = False) -> None:
        """A message into Deleted Items, or gone for good."""
        self.do("/messages/delete", mailbox=mailbox, id=item, hard=hard)

    def put(self, mailbox: str, **message: Any) -> dict[str, Any]:
        """A message in one folder of one mailbox: from, to, subject, folder, draft, received."""
        made: dict[str, Any] = self.do("/messages", mailbox=mailbox, **message)
        return made

    def mailbox(self, user: str) -> dict[str, Any]:
        """What lies in a mailbox: folders, messages, events."""
        found: dict[str, Any] = self.do("/mailbox", mailbox=user)
        return found

    def do(self, path: str, **body: Any) -> Any:
        """Any action of the control API on this tenant, such as /messages/change or /folders."""
        return self.simulator.call("POST", f"/tenants/{self.id}{path}", **body)

    # archives

    def load_archive(
        self, mail: Path | str | None = None, meetings: Path | str | None = None
    ) -> list[dict[str, Any]]:
        """Load folders; nothing arrives yet. Each mailbox: name, oid, address, messages, meetings."""
        paths = {
            name: str(Path(path).resolve())
            for name, path in (("mail", mail), ("meetings", meetings))
            if path is not None
        }
        found: list[dict[str, Any]] = self.do("/archive", **paths)
        return found

    def archive(self) -> list[dict[str, Any]]:
        """The archive's mailboxes, each with what of it was `released` and is `remaining`."""
        found: list[dict[str, Any]] = self.simulator.call("GET", f"/tenants/{self.id}/archive")
        return found

    def release(self, mailbox: str | None = None, count: int | None = None) -> dict[str, int]:
        """The next items of a mailbox (name or oid), or all; `released` and `remaining`."""
        done: dict[str, int] = self.do("/archive/release", mailbox=mailbox, count=count)
        return done

    # tokens

    def mint(self, user: str, kind: str = "good", **about: Any) -> str:
        """A user's access token without a sign-in; `tokens.SPECIAL` has the kinds to be refused."""
        return str(self.do("/tokens", user=user, kind=kind, **about)["access_token"])

    def app_token(self, client_id: str = CAPTURE_CLIENT_ID, secret: str = CAPTURE_CLIENT_SECRET) -> str:
        """An application's token for Graph, from the token endpoint."""
        form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": secret,
            "scope": "https://graph.microsoft.com/.default",
        }
        answer = self.simulator.http.post(f"/{self.id}/oauth2/v2.0/token", data=form)
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def sign_in(
        self,
        user: str,
        *,
        client_id: str = API_CLIENT_ID,
        api: str = API_CLIENT_ID,
        redirect_uri: str = "http://localhost/",
    ) -> str:
        """A user's access token for the API, by the whole way that a browser goes, with PKCE."""
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
        digest = sha256(verifier.encode()).digest()
        asked = {
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
        page = self.simulator.http.get(f"/{self.id}/oauth2/v2.0/authorize", params=asked)
        returned = parse_qs(urlsplit(page.headers.get("location", "")).query)
        if returned.get("state") != [state] or "code" not in returned:
            raise ControlError(f"sign-in of {user}: {page.status_code} {returned or page.text}")
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(redirect_uri))
        answer = self.simulator.http.post(
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
        answer.raise_for_status()
        return str(answer.json()["access_token"])
