"""The plain-http endpoint for browsers: the sign-in, and a page to send mail, book meetings, close mailboxes.

A browser does not trust the simulator's private CA, so this endpoint has no TLS and listens on the loopback
interface only. It has the authority's routes for browsers, and no route of Graph.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from html import escape
from urllib.parse import parse_qsl, quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from simulator import sample_company
from simulator.entra.authority import Authority
from simulator.state.tenants import BLOCKS, Tenant, User
from simulator.state.world import World

from . import item_actions

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")
AUTHORITY_ROUTES = ("/authorize", "/token", "/logout")
"""Endings of the authority's routes that browsers need."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
CORRESPONDENTS = (sample_company.CARLA, sample_company.DEEPAK, sample_company.EVE)
"""Outside addresses that the forms suggest."""

Form = Mapping[str, str]

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Simulator</title>
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">
<style>
:root{{--back:#f6f6f3;--card:#fff;--text:#1d1f23;--soft:#5b6068;--line:#d9dade;--mark:#2f5d50}}
@media (prefers-color-scheme:dark){{
:root{{--back:#15171a;--card:#1e2125;--text:#eceef1;--soft:#a5abb4;--line:#3a3f46;--mark:#8fd0b9}}
}}
*{{box-sizing:border-box}}
body{{font:16px/1.5 system-ui,sans-serif;background:var(--back);color:var(--text);margin:0}}
main{{max-width:64rem;margin:0 auto;padding:2rem 1.25rem}}
h1{{font-size:1.5rem;margin:0}} h2{{font-size:1.1rem;margin:0 0 .8rem}}
p{{color:var(--soft);margin:.3rem 0 1.5rem}}
section{{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:1.25rem}}
.all{{display:grid;gap:1.25rem;grid-template-columns:repeat(auto-fit,minmax(18rem,1fr));align-items:start}}
label{{display:block;font-size:.9rem;color:var(--soft);margin-bottom:.7rem}}
input,select,textarea{{display:block;width:100%;font:inherit;color:var(--text);background:var(--back);
border:1px solid var(--line);border-radius:8px;padding:.5rem .6rem}}
button{{font:inherit;font-weight:600;border:0;border-radius:8px;padding:.55rem 1rem;background:var(--mark);
color:var(--card);cursor:pointer}}
[role=status]{{background:var(--card);border-left:4px solid var(--mark);padding:.7rem 1rem;margin:0 0 1.25rem;
color:var(--text)}}
</style></head><body><main><h1>Simulator</h1>
<p>Mail and meetings of this page arrive as in Microsoft 365. Keep the timeline open beside it.</p>
{result}<div class="all">
<section><h2>Send a mail</h2><form method="post" action="/control/mail">
<label>From <input name="from" list="people" required value="{sender}"></label>
<label>To <input name="to" list="people" required value="{recipient}"></label>
<label>Cc <input name="cc" list="people"></label>
<label>Subject <input name="subject" required value="A question about the offer"></label>
<label>Text <textarea name="text" rows="4">Hello,
could we talk about the delivery dates?</textarea></label>
<label>Sensitivity <select name="sensitivity"><option>normal</option><option>private</option></select></label>
<button>Send</button></form></section>
<section><h2>Book a meeting</h2><form method="post" action="/control/meeting">
<label>Organizer <input name="organizer" list="people" required value="{recipient}"></label>
<label>Attendee <input name="attendee" list="people" required value="{sender}"></label>
<label>Subject <input name="subject" required value="Talk about delivery"></label>
<label>In how many hours
<input name="hours" type="number" min="-48" max="72" value="3" required></label>
<button>Book</button></form></section>
<section><h2>Close a mailbox</h2><form method="post" action="/control/mailbox">
<label>Mailbox <select name="user">{mailboxes}</select></label>
<label>State <select name="block"><option value="">open</option>{blocks}</select></label>
<button>Apply</button></form></section>
</div><datalist id="people">{people}</datalist></main></body></html>"""
RESULT = '<div role="status">{}</div>'


def create_app(world: World, authority: Authority) -> Starlette:
    """The application for browsers, for the same world as Graph's."""
    page = ControlPage(world)
    authority_routes = [route for route in authority.routes() if route.path.endswith(AUTHORITY_ROUTES)]
    app = Starlette(
        routes=[
            Route("/", page.redirect_home),
            Route("/control", page.show),
            Route("/control/{form}", page.submit, methods=["POST"]),
            *authority_routes,
        ]
    )
    app.add_middleware(_LoopbackOnly)
    return app


class ControlPage:
    """Sends mail, books meetings and closes mailboxes in the first tenant of the world."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def redirect_home(self, _: Request) -> Response:
        """Redirect to the page."""
        return RedirectResponse("/control")

    async def show(self, request: Request) -> Response:
        """The page, with the result of the last submitted form."""
        tenant = next(iter(self._world.tenants.values()), None)
        if tenant is None:
            return PlainTextResponse("There is no tenant yet.", 404)
        with self._world.lock:
            users = sorted(
                (user for user in tenant.users.values() if user.mailbox), key=lambda user: user.name
            )
        result = request.query_params.get("result", "")
        own = {user.address: user.name for user in users}
        others = {person.address: person.name for person in CORRESPONDENTS}
        html = PAGE.format(
            result=RESULT.format(escape(result)) if result else "",
            sender=sample_company.CARLA.address,
            recipient=escape(next(iter(own), "")),
            mailboxes="".join(
                f'<option value="{escape(user.oid)}">{escape(user.name)}{_state(user)}</option>'
                for user in users
            ),
            blocks="".join(f"<option>{block}</option>" for block in BLOCKS),
            people="".join(
                f'<option value="{escape(address)}">{escape(name)}</option>'
                for address, name in (own | others).items()
            ),
        )
        headers = {"cache-control": "no-store", "content-security-policy": CONTENT_SECURITY_POLICY}
        return HTMLResponse(html, headers=headers)

    async def submit(self, request: Request) -> Response:
        """Run the action of a form, and redirect to the page with its result."""
        action = FORM_ACTIONS.get(request.path_params["form"])
        if action is None:
            return PlainTextResponse("There is no such form.", 404)
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        try:
            result = action(self._world, next(iter(self._world.tenants.values())), form)
        except (LookupError, ValueError, StopIteration) as error:
            result = f"That did not work: {error}"
        return RedirectResponse(f"/control?result={quote(result)}", 303)


def _send_mail(world: World, tenant: Tenant, form: Form) -> str:
    cc = [form["cc"]] if form.get("cc") else []
    body = {
        "from": _recipient(form["from"]),
        "to": [_recipient(form["to"])],
        "cc": [_recipient(each) for each in cc],
    }
    body |= {name: form[name] for name in ("subject", "text", "sensitivity") if form.get(name)}
    copies = item_actions.send_mail(world, tenant, body)["copies"]
    return f"Sent: {form.get('subject', '')}. {len(copies)} mailboxes here have a copy."


def _book_meeting(world: World, tenant: Tenant, form: Form) -> str:
    start = world.now().replace(minute=0, second=0) + timedelta(hours=int(form["hours"]))
    body = {
        "organizer": _recipient(form["organizer"]),
        "attendees": [_recipient(form["attendee"])],
        "start": start.isoformat(),
        "subject": form.get("subject", ""),
    }
    item_actions.book_meeting(world, tenant, body)
    return f"Booked: {form.get('subject', '')}, {start:%d %B %H:%M} UTC."


def _close_mailbox(world: World, tenant: Tenant, form: Form) -> str:
    user = tenant.users[form["user"]]
    block = form.get("block") or None
    if block not in (None, *BLOCKS):
        raise ValueError(f"no state {block}")
    with world.lock:
        user.block = block
    return (
        f"The mailbox of {user.name} is closed to applications now: {block}."
        if block
        else f"The mailbox of {user.name} is open."
    )


FORM_ACTIONS: Mapping[str, Callable[[World, Tenant, Form], str]] = {
    "mail": _send_mail,
    "meeting": _book_meeting,
    "mailbox": _close_mailbox,
}


def _recipient(address: str) -> str | dict[str, str]:
    """An address; one of the sample company's correspondents has a name."""
    named = {person.address: person for person in CORRESPONDENTS}
    return named[address].as_recipient() if address in named else address


def _state(user: User) -> str:
    return f" ({user.block})" if user.block else ""


class _LoopbackOnly:
    """Rejects requests with another host name, and forms of other sites, including DNS rebinding."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            origin = request.headers.get("origin")
            own = origin is None or origin == f"http://{request.headers.get('host')}"
            if request.url.hostname not in LOOPBACK_HOSTS or (
                request.method == "POST" and request.url.path.startswith("/control") and not own
            ):
                await PlainTextResponse("Only from this machine, and from this page.", 403)(
                    scope, receive, send
                )
                return
        await self._app(scope, receive, send)
