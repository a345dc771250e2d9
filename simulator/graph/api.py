"""Microsoft Graph: who may ask what, and the answers about users, mail and calendars."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from simulator.state import faults as fault_texts
from simulator.state.items import Message, Occurrence
from simulator.state.mailbox import ROOT, Folder, Mailbox
from simulator.state.tenants import ACCESS_POLICY, NO_LICENCE, REMOVED, Tenant, User
from simulator.state.world import World

from . import errors as errors
from . import odata
from . import resources as render
from .errors import GraphError, Refusal
from .recorder import ERROR, Recorder
from .requests import Answer, Call
from .throttle import Throttle

MAIL = ("Mail.Read", "Mail.ReadWrite")
MAIL_BASIC = ("Mail.ReadBasic.All", "Mail.ReadBasic")
CALENDAR = ("Calendars.Read", "Calendars.ReadWrite")
CALENDAR_BASIC = ("Calendars.ReadBasic.All", "Calendars.ReadBasic")
DIRECTORY = ("User.Read.All", "User.ReadBasic.All", "User.ReadWrite.All", "Directory.Read.All")


@dataclass(frozen=True, slots=True)
class Found:
    """What a path led to: the user, the mailbox if there is one, and whether bodies are shown."""

    tenant: Tenant
    user: User
    mailbox: Mailbox
    bodies: bool


@dataclass(frozen=True, slots=True)
class Path:
    """One readable path: how it is counted, the roles that may read it, and who answers.

    `full` shows bodies too, `basic` does not.
    """

    kind: str
    full: tuple[str, ...]
    basic: tuple[str, ...]
    answer: Callable[["Graph", Call, Found], Answer]


class Graph:
    """Answers requests about users, mail and calendars.

    `latency` is how long a mailbox takes over each request; it is what makes requests overlap, so
    that the limit on simultaneous ones is a measured one.
    """

    def __init__(self, world: World, recorder: Recorder, latency: float) -> None:
        self.world = world
        self.throttle = Throttle()
        self.latency = latency
        self._recorder = recorder
        self.others: dict[tuple[str, ...], Callable[[Call], Awaitable[Answer]]] = {}
        """Who answers what is not below /users: subscriptions and batches."""

    async def answer(self, call: Call) -> Answer:
        """The answer to a request, an error among them, recorded."""
        try:
            answer = await self._answer(call)
        except GraphError as error:
            body = error.body(self.world.clock(), call.request_id, call.client_request_id)
            answer = Answer(error.status, body, ERROR)
            if error.retry_after is not None:
                answer.headers["Retry-After"] = str(error.retry_after)
        self.world.counters.statuses[answer.status] += 1
        answer.headers["request-id"] = call.request_id
        answer.headers["client-request-id"] = call.client_request_id
        self._recorder.record(answer.kind, answer.body)
        return answer

    async def _answer(self, call: Call) -> Answer:
        if call.names[:1] == ("me",):
            raise GraphError(errors.ME)
        other = self.others.get(call.names[:1])
        if other is not None:
            return await other(call)
        path = PATHS.get((call.names, len(call.keys)))
        if path is None:
            raise GraphError(errors.NO_RESOURCE, "/".join(call.names[1:]) or call.path)
        if call.method != "GET":
            raise GraphError(errors.NO_METHOD)
        self.world.counters.requests[path.kind] += 1
        tenant = self.tenant(call)
        if call.names == ("users",) and not call.keys:
            self._roughen(path.kind, None)
            self._allowed(call, path)
            answer = self._users(call, tenant)
            _apply(call, answer)
            return answer
        found = self._user(call, tenant, path)
        with ExitStack() as flight:
            if len(call.names) > 1:
                key = (tenant.id, call.token.app, found.user.oid)
                self.world.counters.by_mailbox[tenant.id, found.user.oid][path.kind] += 1
                flight.enter_context(self.throttle.request(key, self.world.clock()))
                if self.latency:
                    await asyncio.sleep(self.latency)
            self._roughen(path.kind, found.user.oid)
            with self.world.lock:
                answer = path.answer(self, call, found)
        _apply(call, answer)
        return answer

    def tenant(self, call: Call) -> Tenant:
        """The tenant of the caller's token."""
        found = self.world.tenants.get(call.token.tenant)
        if found is None or call.token.app not in found.apps:
            raise GraphError(
                errors.TOKEN, "The identity of the calling application could not be established."
            )
        return found

    def roles(self, call: Call) -> frozenset[str]:
        """The application permissions that the token carries."""
        return call.token.roles

    def mailbox(self, tenant: Tenant, name: str) -> Found:
        """The mailbox that a request is about, unless it is closed to the application."""
        user = tenant.user(name)
        if user is None or user.block == REMOVED:
            raise GraphError(errors.NO_USER, name)
        if user.block == ACCESS_POLICY:
            raise GraphError(errors.RAOP)
        if user.block == NO_LICENCE or user.mailbox is None:
            raise GraphError(errors.NO_MAILBOX)
        if user.block is not None:
            raise GraphError(errors.BUSY, retry_after=user.retry_after)
        return Found(tenant, user, user.mailbox, True)

    def _user(self, call: Call, tenant: Tenant, path: Path) -> Found:
        bodies = self._allowed(call, path)
        name = call.keys[0]
        if len(call.names) > 1:
            found = self.mailbox(tenant, name)
            return Found(tenant, found.user, found.mailbox, bodies)
        user = tenant.user(name)
        if user is None or user.block == REMOVED:
            raise GraphError(errors.NO_OBJECT, name)
        mailbox = user.mailbox or Mailbox(tenant.id, user.oid, "")
        return Found(tenant, user, mailbox, bodies)

    def _allowed(self, call: Call, path: Path) -> bool:
        roles = self.roles(call)
        if not roles.isdisjoint(path.full):
            return True
        if roles.isdisjoint(path.basic):
            denied = errors.DIRECTORY_DENIED if path.full is DIRECTORY else errors.DENIED
            raise GraphError(denied)
        return False

    def _roughen(self, kind: str, mailbox: str | None) -> None:
        fault = self.world.faults.hit(kind, mailbox)
        if fault is not None:
            code, text = fault_texts.MESSAGES.get(fault.status, ("UnknownError", ""))
            refusal = Refusal(fault.status, code, text)
            raise GraphError(refusal, retry_after=fault.retry_after)

    # users

    def _users(self, call: Call, tenant: Tenant) -> Answer:
        options = call.options
        users = sorted(tenant.users.values(), key=lambda u: u.name)
        users = [u for u in users if u.block != REMOVED]
        if options.filter:
            found = odata.read_filter(options.filter, USER_FILTERS, "Microsoft.Graph.User")
            users = [u for u in users if found.test(u)]
        shown = [render.user(u, options.select) for u in users]
        return self._page(call, "users", shown, lambda item: item, "user", page=100)

    def user(self, call: Call, found: Found) -> Answer:
        """One user."""
        select = call.options.select
        body = render.user(found.user, select)
        return Answer(200, self._single(call, "users", body), "user")

    # mail

    def folders(self, call: Call, found: Found) -> Answer:
        """The folders below the root, or below another."""
        above = self._folder(found, call.keys[1] if len(call.keys) > 1 else ROOT)
        below = found.mailbox.children(above)
        select = call.options.select
        shown = [render.folder(found.mailbox, f, select) for f in below]
        return self._page(call, self._of(found, "mailFolders"), shown, lambda f: f, "mailFolder")

    def folder(self, call: Call, found: Found) -> Answer:
        """One folder."""
        item = self._folder(found, call.keys[-1])
        body = render.folder(found.mailbox, item, call.options.select)
        return Answer(200, self._single(call, self._of(found, "mailFolders"), body), "mailFolder")

    def messages(self, call: Call, found: Found) -> Answer:
        """The messages of the mailbox or of one folder."""
        folder = self._folder(found, call.keys[1]) if len(call.keys) > 1 else None
        options, view = call.options, render.View(call.prefer, found.bodies)
        expand = self._expands(options, found)
        items: list[Message] = found.mailbox.messages_in(folder)
        wanted = None
        if options.filter:
            kind = "Microsoft.OutlookServices.Message"
            wanted = odata.read_filter(options.filter, render.MESSAGE_FILTERS, kind)
            odata.check_order(wanted, options.orderby)
            items = [m for m in items if wanted.test(m)]
        items = odata.ordered(items, options.orderby, render.MESSAGE_FILTERS, "Message")
        return self._page(
            call,
            self._of(found, "messages"),
            items,
            lambda m: render.message(view, m, options.select, expand),
            "message",
        )

    def message(self, call: Call, found: Found) -> Answer:
        """One message."""
        item = found.mailbox.find_message(call.keys[-1])
        if item is None:
            raise GraphError(errors.NO_ITEM)
        self._fetched(found, item.immutable_id)
        options, view = call.options, render.View(call.prefer, found.bodies)
        body = render.message(view, item, options.select, self._expands(options, found))
        answer = Answer(200, self._single(call, self._of(found, "messages"), body), "message")
        answer.headers["ETag"] = body["@odata.etag"]
        return answer

    def _expands(self, options: odata.Options, found: Found) -> bool:
        """Whether the sensitivity is asked for, as the extended property that it is."""
        expand = (options.expand or "").replace(" ", "").lower()
        if not expand:
            return False
        if not found.bodies:
            raise GraphError(errors.DENIED)
        wanted = "singlevalueextendedproperties($filter=ideq'integer0x36')"
        if expand != wanted:
            raise GraphError(errors.OPTION, "$expand", options.expand)
        return True

    # calendar

    def events(self, call: Call, found: Found) -> Answer:
        """Single meetings and masters of series."""
        items = found.mailbox.events.values()
        stored = [found.mailbox.find_event(e.immutable_id) for e in items]
        shown = sorted((o for o in stored if o), key=lambda o: o.meeting.start, reverse=True)
        return self._occurrences(call, found, shown, "events")

    def event(self, call: Call, found: Found) -> Answer:
        """One meeting, series or occurrence."""
        item = self._event(found, call.keys[-1])
        view = render.View(call.prefer, found.bodies)
        body = render.event(view, item, call.options.select)
        immutable = render.View(odata.Preferences(immutable=True))
        self._fetched(found, render.EVENT["id"](immutable, item))
        answer = Answer(200, self._single(call, self._of(found, "events"), body), "event")
        answer.headers["ETag"] = body["@odata.etag"]
        return answer

    def instances(self, call: Call, found: Found) -> Answer:
        """The occurrences of a series in a window."""
        series = self._event(found, call.keys[1])
        start, end = _window(call)
        within = found.mailbox.instances(series.event, start, end)
        return self._occurrences(call, found, within, "events")

    def calendar_view(self, call: Call, found: Found) -> Answer:
        """Whatever touches a window, series expanded."""
        start, end = _window(call)
        return self._occurrences(call, found, found.mailbox.calendar(start, end), "calendarView")

    def _occurrences(self, call: Call, found: Found, items: list[Occurrence], of: str) -> Answer:
        options, view = call.options, render.View(call.prefer, found.bodies)
        if options.expand:
            raise GraphError(errors.OPTION, "$expand", options.expand)
        if options.filter:
            kind = "Microsoft.OutlookServices.Event"
            wanted = odata.read_filter(options.filter, render.EVENT_FILTERS, kind)
            items = [o for o in items if wanted.test(o)]
        items = odata.ordered(items, options.orderby, render.EVENT_FILTERS, "Event")
        return self._page(
            call,
            self._of(found, of),
            items,
            lambda o: render.event(view, o, options.select),
            "event",
        )

    def _event(self, found: Found, item: str) -> Occurrence:
        occurrence = found.mailbox.find_event(item)
        if occurrence is None:
            raise GraphError(errors.NO_ITEM)
        return occurrence

    def _folder(self, found: Found, name: str) -> Folder:
        folder = found.mailbox.folder(name)
        if folder is None:
            raise GraphError(errors.NO_ITEM)
        return folder

    def _fetched(self, found: Found, item: str) -> None:
        self.world.counters.fetched[found.tenant.id, found.user.oid].add(item)

    # envelopes

    def _of(self, found: Found, collection: str) -> str:
        return f"users('{quote(found.user.oid)}')/{collection}"

    def _context(self, call: Call, of: str, tail: str) -> str:
        select = call.options.select
        chosen = f"({','.join(select)})" if select else ""
        return f"{self.world.base_url}/v1.0/$metadata#{of}{chosen}{tail}"

    def _single(self, call: Call, of: str, body: Any) -> Any:
        return {"@odata.context": self._context(call, of, "/$entity"), **body}

    def _page(
        self,
        call: Call,
        of: str,
        items: list[Any],
        show: Callable[[Any], Any],
        kind: str,
        page: int = odata.PAGE,
    ) -> Answer:
        options = call.options
        size = options.top or call.prefer.page or page
        shown = items[options.skip : options.skip + size]
        body: dict[str, Any] = {"@odata.context": self._context(call, of, "")}
        if options.count:
            body["@odata.count"] = len(items)
        body["value"] = [show(item) for item in shown]
        after = options.skip + size
        if after < len(items):
            query = [
                (k, v)
                for k, v in parse_qsl(call.query, keep_blank_values=True)
                if k.lower().lstrip("$") != "skip"
            ]
            link = urlencode([*query, ("$skip", str(after))], safe="$,'()")
            path = quote(call.path.strip("/"), safe="/$()',@=")
            body["@odata.nextLink"] = f"{self.world.base_url}/v1.0/{path}?{link}"
        return Answer(200, body, kind)


def _window(call: Call) -> tuple[datetime, datetime]:
    raw = call.options.raw
    if not raw.get("startdatetime") or not raw.get("enddatetime"):
        raise GraphError(errors.WINDOW)
    return odata.instant(raw["startdatetime"]), odata.instant(raw["enddatetime"])


def _apply(call: Call, answer: Answer) -> None:
    applied = call.prefer.applied()
    if applied:
        answer.headers["Preference-Applied"] = applied


USER_FILTERS: Mapping[str, Callable[[User], Any]] = {
    "id": lambda u: u.oid,
    "userPrincipalName": lambda u: u.upn,
    "mail": lambda u: u.address,
    "displayName": lambda u: u.name,
    "accountEnabled": lambda _: True,
}

PATHS: Mapping[tuple[tuple[str, ...], int], Path] = {
    (("users",), 0): Path("users", DIRECTORY, (), Graph.user),
    (("users",), 1): Path("user", DIRECTORY, (), Graph.user),
    (("users", "mailfolders"), 1): Path("folders", MAIL, MAIL_BASIC, Graph.folders),
    (("users", "mailfolders"), 2): Path("folder", MAIL, MAIL_BASIC, Graph.folder),
    (("users", "mailfolders", "childfolders"), 2): Path("folders", MAIL, MAIL_BASIC, Graph.folders),
    (("users", "mailfolders", "childfolders"), 3): Path("folder", MAIL, MAIL_BASIC, Graph.folder),
    (("users", "messages"), 1): Path("messages.window", MAIL, MAIL_BASIC, Graph.messages),
    (("users", "messages"), 2): Path("message.by_id", MAIL, MAIL_BASIC, Graph.message),
    (("users", "mailfolders", "messages"), 2): Path("messages.window", MAIL, MAIL_BASIC, Graph.messages),
    (("users", "mailfolders", "messages"), 3): Path("message.by_id", MAIL, MAIL_BASIC, Graph.message),
    (("users", "events"), 1): Path("events.window", CALENDAR, CALENDAR_BASIC, Graph.events),
    (("users", "events"), 2): Path("event.by_id", CALENDAR, CALENDAR_BASIC, Graph.event),
    (("users", "events", "instances"), 2): Path("instances", CALENDAR, CALENDAR_BASIC, Graph.instances),
    (("users", "calendarview"), 1): Path("calendar_view", CALENDAR, CALENDAR_BASIC, Graph.calendar_view),
}
"""All that can be read below /users, by the names in the path and how many ids stand between."""
