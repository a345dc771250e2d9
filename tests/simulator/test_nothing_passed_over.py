"""No request is passed over: what a path declares is applied, all else is refused, and nothing is a 500."""

import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.control.client import TenantControl
from simulator.graph.endpoints import ENDPOINTS, Endpoint
from simulator.graph.paths import Routes, parse_path
from simulator.server import Running
from simulator.state.tenants import CAPTURE_CLIENT_ID

ANN = "ann@contoso.example"
MISSING = "AAMkAGI1YTc4ZjBkLWI2MjktNGY3NS04" + "A" * 35 + "="
START, END = "2026-03-01", "2026-03-20"
REQUESTS = 5
"""Of one example."""

ROUTES: Routes[Endpoint] = Routes()
for each in ENDPOINTS:
    ROUTES.add("GET", each.path, each)
ALL_OPTIONS = sorted({name for endpoint in ENDPOINTS for name in endpoint.options})


class Company:
    """A tenant with something in every collection, and a client of Graph."""

    def __init__(self, tenant: TenantControl, http: httpx2.Client) -> None:
        self.tenant = tenant
        self.http = http
        for name in ("Ann", "Bob", "Cy"):
            tenant.user(f"{name.lower()}@contoso.example", name=name)
        for subject in ("Alpha", "Beta", "Gamma"):
            tenant.send("x@fabrikam.com", [ANN], subject=subject, text="Hello")
        tenant.book(ANN, [], f"{START}T09:00:00Z", subject="Single")
        self.series = tenant.book(ANN, [], f"{START}T10:00:00Z", subject="Daily", rule="FREQ=DAILY;COUNT=9")
        for name, hidden in (("One", False), ("Two", False), ("Three", True)):
            self.folder = tenant.do("/folders", mailbox=ANN, name=name, parent="inbox", hidden=hidden)["id"]
        tenant.do("/folders", mailbox=ANN, name="Hidden", hidden=True)
        self.message = tenant.mailbox(ANN)["messages"][0]["id"]

    def get(self, path: str) -> httpx2.Response:
        return self.http.get(f"/v1.0/{path}")

    def fill(self, endpoint: Endpoint) -> str:
        """The path of an endpoint with the ids of things that exist."""
        parts = endpoint.path.split("/")
        ids = {
            "users": ANN,
            "mailFolders": "inbox",
            "childFolders": self.folder,
            "messages": self.message,
            "events": self.series["copies"][0]["id"],
        }
        for place, part in enumerate(parts):
            if part == "{}":
                parts[place] = quote(ids[parts[place - 1]], safe="")
        return "/".join(parts)


@pytest.fixture(scope="module")
def company(server: Running) -> Iterator[Company]:
    tenant = server.client.tenant(domain="contoso.example")
    token = tenant.app_token()
    server.client.limits(max_in_window=10**9, max_writes=10**9)
    with httpx2.Client(
        base_url=server.url,
        verify=ssl.create_default_context(cafile=str(server.ca)),
        trust_env=False,
        headers={"authorization": f"Bearer {token}"},
    ) as http:
        yield Company(tenant, http)
    server.client.limits(max_in_window=10_000, max_writes=1000)


# what is declared is applied

WINDOW = f"startDateTime={START}&endDateTime={END}"
"""The options of a path that needs a window."""


def query_of(endpoint: Endpoint, option: str) -> tuple[str, str]:
    """Queries without and with an option, whose answers differ if it is applied."""
    name = "displayName" if endpoint.kind in ("users", "folders") else "subject"
    order = "start/dateTime" if endpoint.kind == "instances" else name
    common = WINDOW if "startdatetime" in endpoint.options else ""
    values = {
        "$select": "$select=id",
        "$top": "$top=1",
        "$skip": "$skip=1",
        "$skiptoken": "$skiptoken=MTow",  # 1:0, the page after the first item
        "$count": "$count=true",
        "$filter": f"$filter={name} eq 'nothing'",
        "$orderby": f"$orderby={order}",
        "$expand": "$expand=singleValueExtendedProperties($filter=id eq 'Integer 0x36')",
        "$search": "$search=nothing",
        "includehiddenfolders": "includeHiddenFolders=true",
    }
    if option == "$orderby":
        return f"{common}&$orderby={order} desc", f"{common}&{values[option]}"
    if option == "startdatetime":
        return common, WINDOW.replace(START, "2026-03-05")
    if option == "enddatetime":
        return common, WINDOW.replace(END, "2026-03-05")
    return common, f"{common}&{values[option]}"


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: e.path)
def test_declared_options_are_applied_and_others_are_refused(company: Company, endpoint: Endpoint) -> None:
    path = company.fill(endpoint)
    for option in ALL_OPTIONS:
        if option in endpoint.options:
            without, with_it = (company.get(f"{path}?{query}") for query in query_of(endpoint, option))
            assert without.status_code == 200, without.text
            is_directory = endpoint.path == "users" and option in ("$skip", "$count")
            assert with_it.status_code == (400 if is_directory else 200), (option, with_it.text)
            values = [each.json().get("value", each.json()) for each in (without, with_it)]
            counts = ["@odata.count" in each.json() for each in (without, with_it)]
            assert values[0] != values[1] or counts == [False, True], option
        else:
            refused = company.get(f"{path}?{WINDOW if option == '$top' else ''}&{option}=1")
            assert refused.status_code in (400, 501), (option, refused.text)


# nothing is a 500

NAMES = sorted({part for endpoint in ENDPOINTS for part in endpoint.path.split("/")} - {"{}"})
OTHER_NAMES = ["me", "subscriptions", "$batch", "delta", "delta()", "microsoft.graph.delta()", "$count"]
WORDS = [
    *("subject", "receivedDateTime", "isRead", "start/dateTime", "displayName", "id", "colour"),
    *("eq", "ne", "ge", "lt", "and", "or", "not", "in", "asc", "desc", "(", ")", ",", "'a'", "''"),
    *("2026-01-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.9999999Z"),
    *("'9999-12-31T23:59:59-12:00'", "startswith(subject,'a')", "any(r:r/x eq 1)", "true", "null"),
    *('"', "subject:a", "1", "-1", "99999999999", "*", "\u0661\u0660", "\u00b2"),
]
WHOLE = ["subject eq 'Alpha'", "subject", "Alpha", "1", "true", "MTow", "2026-03-01", "isRead eq false"]
"""Values that an option may have."""
OTHER_OPTIONS = ["top", "$format", "$apply", "$deltatoken", "changeType", "$"]
text = st.text(st.characters(codec="utf-8"), max_size=12)
words = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
values = st.one_of(st.sampled_from(WHOLE), words, text)
names = st.sampled_from(ALL_OPTIONS + OTHER_OPTIONS)
options = st.lists(st.tuples(names, values), max_size=3)
raw_segments = st.sampled_from(["%ff", "%zz", "%2F", "%00", "a%27b", "x('y')", "x('", "messages('')", "("])
preferences = st.sampled_from(
    [
        "",
        'IdType="ImmutableId"',
        'outlook.timezone="Tokyo Standard Time"',
        'outlook.timezone="../etc"',
        "odata.maxpagesize=\u00b2",
        "odata.maxpagesize=99999999999",
    ]
)


def paths(company: Company) -> st.SearchStrategy[str]:
    ids = st.sampled_from(
        [ANN, "inbox", company.message, company.series["copies"][0]["id"], MISSING, "no-such"]
    )
    segment = st.one_of(
        st.sampled_from(NAMES + OTHER_NAMES),
        ids.map(lambda i: quote(i, safe="")),
        raw_segments,
        text.map(quote),
    )
    free = st.lists(segment, max_size=6).map("/".join)
    filled = st.sampled_from(ENDPOINTS).map(company.fill)
    return st.one_of(filled, st.tuples(filled, segment).map("/".join), free)


@pytest.mark.sized("simulator")
@given(data=st.data())
def test_any_request_is_answered_whole_or_refused(company: Company, data: st.DataObject) -> None:
    for _ in range(REQUESTS):
        method = data.draw(st.sampled_from(["GET"] * 8 + ["POST", "PATCH", "DELETE", "PUT", "OPTIONS"]))
        path = data.draw(paths(company))
        query_options = data.draw(options)
        query = "&".join(f"{name}={quote(value)}" for name, value in query_options)
        prefer = data.draw(preferences)
        answer = company.http.request(method, f"/v1.0/{path}?{query}", headers=[(b"prefer", prefer.encode())])
        check(answer, method, path, [name for name, _ in query_options])


def check(answer: httpx2.Response, method: str, path: str, option_names: list[str]) -> None:
    """An answer is whole, or a refusal of Graph's form."""
    if answer.status_code == 200:
        found = ROUTES.find(method, parse_path(path))
        declared = found[0].options if found else {"$skiptoken"}  # else it is the list of subscriptions
        names = {("$" if name == "top" else "") + name.lower() for name in option_names}
        assert names <= declared
        return
    assert answer.status_code in (400, 404, 501), (answer.status_code, answer.text)
    error = answer.json()["error"]
    assert error["code"]
    if answer.status_code == 501:
        assert error["message"].startswith("Not simulated")
    if error["code"] == "ErrorItemNotFound":
        assert any(len(segment.text) > 40 or segment.text.lower() == "inbox" for segment in parse_path(path))


scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(), text)
json_values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=3)),
    max_leaves=6,
)
GOOD_SUBSCRIPTION = {
    "changeType": "created",
    "notificationUrl": "https://127.0.0.1:9/nobody",
    "resource": f"users/{ANN}/messages",
    "expirationDateTime": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
    "clientState": "s",
    "lifecycleNotificationUrl": None,
    "latestSupportedTlsVersion": "v1_2",
    "includeResourceData": False,
    "encryptionCertificate": None,
}
GOOD_PART: dict[str, Any] = {
    "id": "1",
    "method": "GET",
    "url": f"/users/{ANN}",
    "headers": {},
    "body": None,
    "dependsOn": [],
}


@pytest.mark.sized("simulator")
@given(data=st.data())
def test_any_body_is_answered_or_refused(company: Company, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["subscriptions", "$batch"]))
    good = GOOD_SUBSCRIPTION if kind == "subscriptions" else GOOD_PART
    changed = data.draw(st.dictionaries(st.sampled_from([*good, "colour"]), json_values, max_size=3))
    body: Any = {**good, **changed}
    if kind == "$batch":
        body = data.draw(st.sampled_from([{"requests": [body]}, {"requests": body}, [body], body]))
    media_type = {"content-type": "application/json"}
    answer = company.http.post(f"/v1.0/{kind}", content=dumps(body), headers=media_type)
    assert answer.status_code in (200, 400, 401, 501), answer.text
    for part in answer.json().get("responses", []):
        assert part["status"] in (200, 400, 404, 501), part
    assert "error" in answer.json() or answer.status_code == 200


def dumps(value: Any) -> bytes:
    """JSON as Python writes it, with NaN and numbers of any size."""
    return json.dumps(value).encode()


@pytest.mark.sized("simulator")
@given(data=st.data())
def test_any_signed_token_is_accepted_or_a_401(company: Company, data: st.DataObject) -> None:
    any_value = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), text, st.lists(text))
    kinds = dict.fromkeys(("appid", "exp", "nbf", "tid", "aud", "roles", "xms_cc", "idtyp"), any_value)
    claims = data.draw(st.fixed_dictionaries({}, optional={**kinds, "iss": text}))
    minted = company.tenant.do("/tokens/app", client_id=CAPTURE_CLIENT_ID, claims=claims)
    answer = company.http.get(
        f"/v1.0/users/{ANN}", headers={"authorization": f"Bearer {minted['access_token']}"}
    )
    needed = {"appid", "iss", "tid", "aud"} & claims.keys()
    assert answer.status_code in ((401,) if needed else (200, 401, 403)), answer.text
