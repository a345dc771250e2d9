"""The HTML of the sign-in: the account picker, the form that returns to the application, messages."""

from collections.abc import Iterable, Mapping
from html import escape

from starlette.responses import HTMLResponse, Response

from simulator.state.tenants import Tenant

SUBMIT_SCRIPT = "<script>document.forms[0].submit()</script>"
FAILURE_TITLE = "Sorry, but we're having trouble signing you in."

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sign in</title>
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">
<style>
:root{{--back:#f6f6f3;--card:#fff;--text:#1d1f23;--soft:#5b6068;--line:#d9dade;--over:#eef3f0;--mark:#2f5d50}}
@media (prefers-color-scheme:dark){{
:root{{--back:#15171a;--card:#1e2125;--text:#eceef1;--soft:#a5abb4;--line:#3a3f46;--over:#2a302f;--mark:#8fd0b9}}
}}
*{{box-sizing:border-box}}
body{{font:16px/1.5 system-ui,sans-serif;background:var(--back);color:var(--text);margin:0;padding:1rem;
overflow-wrap:anywhere}}
main{{max-width:27rem;margin:10vh auto 2rem;background:var(--card);padding:2rem;border:1px solid var(--line);
border-radius:14px}}
h1{{font-size:1.4rem;line-height:1.3;margin:0 0 .2rem}}
p{{color:var(--soft);margin:.2rem 0 1.2rem}} p:empty{{display:none}}
h2{{font-size:.85rem;font-weight:600;color:var(--soft);margin:1.2rem 0 .3rem}}
button{{display:flex;gap:.8rem;align-items:center;width:100%;text-align:left;padding:.65rem .8rem;
margin:.5rem 0 0;border:1px solid var(--line);border-radius:10px;background:var(--card);color:var(--text);
font:inherit;cursor:pointer}}
button:hover{{background:var(--over)}}
button:focus-visible{{outline:3px solid var(--mark);outline-offset:2px}}
i{{flex:none;display:grid;place-items:center;width:2.3rem;height:2.3rem;border-radius:50%;
background:var(--over);color:var(--mark);font:600 .9rem system-ui,sans-serif}}
small{{color:var(--soft);display:block;font-size:.85rem}}
footer{{max-width:27rem;margin:0 auto;text-align:center;color:var(--soft);font-size:.85rem}}
</style></head><body><main><h1>{title}</h1><p>{text}</p>{content}</main>
<footer>Sign-in page of a simulator: no password, only data of this machine.</footer></body></html>"""


def account_picker(tenants: Iterable[Tenant], app: str, parameters: Mapping[str, str]) -> Response:
    """The page with all users of the tenants; with several tenants, each has a heading.

    The form repeats the parameters of the authorization request. The user that `login_hint` names is first.
    """
    hidden = "".join(
        _hidden_field(name, value) for name, value in parameters.items() if name not in ("user", "prompt")
    )
    first = parameters.get("login_hint", "").lower()
    tenants = list(tenants)
    content = ""
    for tenant in tenants:
        users = sorted(tenant.users.values(), key=lambda u: (u.upn.lower() != first, u.name))
        content += f"<h2>{escape(tenant.name)}</h2>" if len(tenants) > 1 else ""
        content += "".join(
            f'<button name="user" value="{escape(user.oid)}">'
            f'<i aria-hidden="true">{escape(_initials(user.name))}</i>'
            f"<span>{escape(user.name)}<small>{escape(user.upn)}</small></span></button>"
            for user in users
        )
    return render(
        "Pick an account", f"to continue to {escape(app)}", f'<form method="post">{hidden}{content}</form>'
    )


def form_post(redirect_uri: str, fields: Mapping[str, str]) -> Response:
    """The page that posts the result of a sign-in to the application (`response_mode=form_post`)."""
    hidden = "".join(_hidden_field(name, value) for name, value in fields.items())
    form = f'<form method="post" action="{escape(redirect_uri)}">{hidden}'
    return render("Signing in", "", f"{form}<button>Continue</button></form>{SUBMIT_SCRIPT}")


def render(title: str, text: str, content: str, status: int = 200) -> Response:
    """A page; `text` and `content` are HTML."""
    html = PAGE.format(title=escape(title), text=text, content=content)
    headers = {"cache-control": "no-store", "x-frame-options": "DENY"}
    return HTMLResponse(html, status, headers)


def _hidden_field(name: str, value: str) -> str:
    return f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'


def _initials(name: str) -> str:
    parts = name.split()
    return "".join(part[0] for part in parts[:1] + parts[1:][-1:]).upper()
