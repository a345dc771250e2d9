"""The simulator refuses as the real Graph does: tokens, grants, ids, filters, windows, searches, pages."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from simulator.control.client import Simulator, TenantControl
from simulator.state.tenants import CAPTURE_CLIENT_ID
from tests.simulator.conftest import IMMUTABLE, Graph, Webhook, quoted

ANN, BOB = "users/ann@contoso.example", "users/bob@contoso.example"
NO_PERMISSIONS = "NoPermissionsInAccessToken"
NOT_SIMULATED = "Not simulated"


def code(answer: Any) -> str:
    return str(answer["error"]["code"])


def app_token(tenant: TenantControl, **properties: Any) -> str:
    """A token with other roles or claims than the authority would give."""
    return str(tenant.do("/tokens/app", client_id=CAPTURE_CLIENT_ID, **properties)["access_token"])


# tokens and grants


@pytest.mark.parametrize(
    "claims",
    [
        {"nbf": 4_000_000_000, "exp": 4_000_003_600},
        {"iss": "https://sts.windows.net/elsewhere/"},
        {"appid": None},
        {"exp": None},
        {"exp": "tomorrow"},
        {"nbf": None},
        {"tid": 5},
        {"roles": "Mail.Read"},
        {"aud": None},
    ],
)
def test_invalid_token_is_a_401(
    tenant: TenantControl, connect: Callable[..., Graph], claims: dict[str, Any]
) -> None:
    refused = connect(app_token(tenant, claims=claims)).get(ANN, 401)
    assert code(refused) == "InvalidAuthenticationToken"


def test_token_is_accepted_minutes_before_its_begin(
    tenant: TenantControl, connect: Callable[..., Graph]
) -> None:
    soon = int((datetime.now(UTC) + timedelta(minutes=4)).timestamp())
    connect(app_token(tenant, claims={"nbf": soon})).get(ANN)


def test_token_without_the_role_has_no_permissions(
    tenant: TenantControl, connect: Callable[..., Graph], webhook: Webhook
) -> None:
    graph = connect(app_token(tenant, roles=["Mail.Read"]))
    graph.get(f"{ANN}/messages")
    assert code(graph.get(f"{ANN}/events", 401)) == NO_PERMISSIONS
    assert code(graph.get("users", 403)) == "Authorization_RequestDenied"
    refused = graph.send("POST", "subscriptions", subscription(webhook, f"{ANN}/events"), 401)
    assert code(refused) == "ExtensionError"
    assert "Operation: Create; Exception: [Status Code: Unauthorized;" in refused["error"]["message"]


def test_exchange_grants_mailboxes_in_scope_beside_the_token(
    tenant: TenantControl, connect: Callable[..., Graph], webhook: Webhook
) -> None:
    graph = connect(app_token(tenant, roles=[]))
    assert code(graph.get(f"{ANN}/messages", 401)) == NO_PERMISSIONS

    tenant.grant("Mail.Read", ["ann@contoso.example"])
    tenant.grant("Calendars.Read", seconds=3600)
    graph.get(f"{ANN}/messages")
    assert code(graph.get(f"{BOB}/messages", 403)) == "ErrorAccessDenied"
    assert code(graph.get(f"{ANN}/events", 401)) == NO_PERMISSIONS  # its grant takes effect in an hour
    made = graph.send("POST", "subscriptions", subscription(webhook, f"{ANN}/messages"), 201)
    refused = graph.send("POST", "subscriptions", subscription(webhook, f"{BOB}/messages"), 401)
    assert "[Status Code: Forbidden;" in refused["error"]["message"]

    connect(app_token(tenant, roles=["Mail.Read"])).get(f"{BOB}/messages")
    tenant.grant("")
    graph.get(f"{ANN}/messages", 401)
    renewed = {"expirationDateTime": made["expirationDateTime"]}
    refused = graph.send("PATCH", f"subscriptions/{made['id']}", renewed, 401)
    assert refused["error"]["message"].startswith("Operation: Update; Exception: [Status Code: Unauthorized;")


def subscription(webhook: Webhook, resource: str) -> dict[str, Any]:
    return {
        "changeType": "created,updated,deleted",
        "notificationUrl": webhook.url,
        "resource": resource,
        "expirationDateTime": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
    }


# names and ids


def test_users_are_found_by_id_and_user_principal_name_alone(tenant: TenantControl, graph: Graph) -> None:
    eve = tenant.user(
        "eve@contoso.example", upn="e1@contoso.example", other_addresses=["eve.moreau@contoso.example"]
    )
    for name in (eve["oid"], "E1@contoso.example"):
        assert graph.get(f"users/{name}")["mail"] == "eve@contoso.example"
    for name in ("eve@contoso.example", "eve.moreau@contoso.example", "eve"):
        assert code(graph.get(f"users/{name}", 404)) == "Request_ResourceNotFound"
        assert code(graph.get(f"users/{name}/messages", 404)) == "ErrorInvalidUser"


def test_ids_have_reserved_characters_and_are_encoded(tenant: TenantControl, graph: Graph) -> None:
    tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Hi")
    item = graph.get(f"{ANN}/messages", prefer=IMMUTABLE)["value"][0]["id"]
    assert {"/", "="} < set(item)
    assert graph.get(f"{ANN}/messages/{quoted(item)}", prefer=IMMUTABLE)["id"] == item
    assert graph.get(f"{ANN}/messages('{quoted(item)}')")["subject"] == "Hi"
    graph.get(f"{ANN}/messages/{item}", 501)  # an unencoded slash is a path that Graph does not have


def test_malformed_ids_are_no_missing_items(tenant: TenantControl, graph: Graph) -> None:
    tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Hi")
    item = graph.get(f"{ANN}/messages", prefer=IMMUTABLE)["value"][0]["id"]
    for malformed in ("no-such", item[:-1], "inbox", "%20"):
        for collection in ("messages", "events", "mailFolders/inbox/messages"):
            refused = graph.get(f"{ANN}/{collection}/{quoted(malformed)}", 400)
            assert code(refused) == "ErrorInvalidIdMalformed"
    assert code(graph.get(f"{ANN}/mailFolders/Nowhere", 400)) == "ErrorInvalidIdMalformed"
    other = ("B" if item[50] == "A" else "A").join((item[:50], item[51:]))
    assert code(graph.get(f"{ANN}/messages/{quoted(other)}", 404)) == "ErrorItemNotFound"


def test_message_of_another_folder_is_not_found(tenant: TenantControl, graph: Graph) -> None:
    tenant.send("x@fabrikam.com", ["ann@contoso.example"])
    item = quoted(graph.get(f"{ANN}/messages")["value"][0]["id"])
    graph.get(f"{ANN}/mailFolders/inbox/messages/{item}")
    graph.get(f"{ANN}/mailFolders/archive/messages/{item}", 404)
    graph.get(f"{ANN}/mailFolders/inbox/childFolders/archive", 404)


# options


@pytest.mark.parametrize(
    "path, status",
    [
        ("messages?$filter=receivedDateTime ge 2026-01-01T00:00:00Z", 200),
        ("messages?$filter=receivedDateTime ge 2026-01-01", 200),
        ("messages?$filter=receivedDateTime ge '2026-01-01T00:00:00Z'", 400),
        ("messages?$filter=receivedDateTime ge 2026-01-01T00:00:00", 400),
        ("messages?$filter=receivedDateTime ge 0001-01-01T00:00:00%2B05:00", 400),
        ("messages?$filter=isRead eq true", 200),
        ("messages?$filter=isRead eq 'true'", 400),
        ("messages?$filter=isRead eq 1", 400),
        ("messages?$filter=isRead", 400),
        ("messages?$filter=subject eq Hello", 400),
        ("messages?$filter=importance eq 'urgent'", 400),
        ("messages?$filter=((subject eq 'a')", 400),
        ("messages?$filter=" + "(" * 200 + "subject eq 'a'" + ")" * 200, 400),
        ("messages?$filter=colour eq 'red'", 400),
        ("messages?$filter=startswith(subject,'a')", 501),
        ("messages?$filter=subject in ('a','b')", 501),
        ("messages?$filter='a' eq subject", 501),
        ("messages?$filter=subject gt 'a'", 501),
        ("messages?$filter=internetMessageId eq null", 501),
        ("messages?$filter=flag/flagStatus eq 'flagged'", 501),
        ("messages?$filter=toRecipients/any(r:r/emailAddress/address eq 'a')", 501),
        ("events?$filter=start/dateTime ge '2026-01-01T00:00'", 200),
        ("events?$filter=start/dateTime ge 2026-01-01T00:00:00Z", 400),
        ("events?$filter=lastModifiedDateTime ge 2026-01-01T00:00:00Z", 200),
        ("messages?$select=sensitivity", 400),
        ("messages?$select=attachments", 501),
        ("messages?$select=from/emailAddress", 501),
        ("messages?$select=,", 400),
        ("mailFolders?$select=wellKnownName", 400),
        ("messages?$top=10&top=20", 400),
        ("messages?$top=0", 400),
        ("messages?$top=%D9%A1%D9%A0", 400),  # ten, in Arabic digits
        ("messages?$top=%EF%BC%91%EF%BC%90", 400),  # ten, in full-width digits
        ("messages?$top=%C2%B2", 400),  # a superscript two
        ("messages?$skip=-1", 400),
        ("messages?$count=perhaps", 400),
        ("messages?$expand=attachments", 501),
        ("messages?$orderby=colour", 400),
        ("messages?$orderby=bodyPreview", 501),
        ("messages?$skiptoken=x", 400),
        ("messages?$search=", 400),
        ('messages?$search="hello"&$orderby=subject', 400),
        ('messages?$search="hello"&$filter=isRead eq true', 400),
        ('messages?$search="hello OR goodbye"', 501),
        ('messages?$search="size:1..2"', 501),
        ('events?$search="hello"', 501),
        ("mailFolders?includeHiddenFolders=perhaps", 400),
        ("calendarView?startDateTime=2026-01-01&endDateTime=2030-12-31", 200),
        ("calendarView?startDateTime=2026-01-01&endDateTime=2031-01-01", 400),
        ("calendarView?startDateTime=2026-01-02&endDateTime=2026-01-01", 400),
        ("calendarView?startDateTime=0001-01-01&endDateTime=0001-02-01", 200),
        ("calendarView?startDateTime=9999-01-01&endDateTime=9999-12-31T23:59:59Z", 200),
        ("calendarView?startDateTime=9999-01-01&endDateTime=9999-12-31T23:59:59-05:00", 400),
        ("calendarView?startDateTime='2026-01-01'&endDateTime=2026-02-01", 400),
        ("calendarView?startDateTime=2026-W01-1&endDateTime=2026-02-01", 400),
        ("events?startDateTime=2026-01-01", 501),
    ],
)
def test_options_are_applied_or_refused(tenant: TenantControl, graph: Graph, path: str, status: int) -> None:
    tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject="Hello")
    tenant.book("ann@contoso.example", [], "2026-03-01T10:00:00Z", rule="FREQ=DAILY")

    answer = graph.get(f"{ANN}/{path}", status)

    if status == 501:
        assert answer["error"]["message"].startswith(NOT_SIMULATED)


def test_windows_of_years_are_refused_with_graphs_code(graph: Graph) -> None:
    refused = graph.get(f"{ANN}/calendarView?startDateTime=2020-01-01&endDateTime=2026-01-01", 400)
    assert code(refused) == "ErrorInvalidRequest"
    refused = graph.get(f'{ANN}/messages?$search="a"&$orderby=subject', 400)
    assert code(refused) == "SearchWithOrderBy"


@pytest.mark.parametrize(
    "path",
    [
        f"{ANN}/teapots",
        f"{ANN}/%0A",
        f"{ANN}/calendar",
        f"{ANN}/calendars",
        f"{ANN}/messages/delta",
        f"{ANN}/messages/delta()",
        f"{ANN}/mailFolders/inbox/messages/microsoft.graph.delta()",
        f"{ANN}/calendarView/delta?startDateTime=2026-01-01&endDateTime=2026-02-01",
        f"{ANN}/messages/$count",
        f"{ANN}/photo/$value",
        "users/delta",
        "groups",
        "users(userPrincipalName='ann@contoso.example')",
        "",
    ],
)
def test_paths_that_are_not_simulated_are_refused(graph: Graph, path: str) -> None:
    assert graph.get(path, 501)["error"]["message"].startswith(NOT_SIMULATED)


def test_methods_and_versions_that_are_not_simulated_are_refused(tenant: TenantControl, graph: Graph) -> None:
    tenant.send("x@fabrikam.com", ["ann@contoso.example"])
    item = quoted(graph.get(f"{ANN}/messages")["value"][0]["id"])
    for method, path in (
        ("DELETE", f"{ANN}/messages/{item}"),
        ("PATCH", f"{ANN}/messages/{item}"),
        ("POST", f"{ANN}/messages"),
        ("PUT", "subscriptions"),
        ("GET", "$batch"),
    ):
        graph.send(method, path, {}, 501)
    assert graph.http.get(f"/beta/{ANN}").status_code == 501
    for method in ("OPTIONS", "HEAD", "PROPFIND"):
        assert graph.http.request(method, f"/v1.0/{ANN}").status_code == 501


def test_body_without_a_media_type_is_refused(graph: Graph) -> None:
    for path in ("subscriptions", "$batch"):
        for headers in ({}, {"content-type": "text/plain"}):
            refused = graph.http.post(f"/v1.0/{path}", content=b'{"requests": []}', headers=headers)
            assert (refused.status_code, "Content-Type" in refused.text) == (400, True)


def test_search_finds_messages_by_words_and_properties(tenant: TenantControl, graph: Graph) -> None:
    for number in range(3):
        tenant.send("pat@fabrikam.com", ["ann@contoso.example"], subject=f"Fleet renewal {number}", text="x")
    tenant.send("eve@adatum.com", ["ann@contoso.example"], subject="Lunch", text="The fleet is late")

    def found(search: str) -> set[str]:
        return {m["subject"] for m in graph.get(f"{ANN}/messages?$search={search}")["value"]}

    assert found('"fleet"') == {"Fleet renewal 0", "Fleet renewal 1", "Fleet renewal 2", "Lunch"}
    assert found('"subject:fleet"') == {"Fleet renewal 0", "Fleet renewal 1", "Fleet renewal 2"}
    assert found('"from:eve"') == {"Lunch"}
    assert found("renew 1") == {"Fleet renewal 1"}
    assert found('"nothing"') == set()
    first = graph.get(f'{ANN}/messages?$search="fleet"&$top=3')
    second = graph.get(first["@odata.nextLink"].partition("/v1.0/")[2])
    assert (len(first["value"]), len(second["value"])) == (3, 1)


def test_users_are_paged_as_the_directory_does(graph: Graph) -> None:
    assert code(graph.get("users?$skip=1", 400)) == "Request_BadRequest"
    graph.get("users?$top=1000", 400)
    assert code(graph.get("users?$count=true", 400)) == "Request_UnsupportedQuery"
    graph.get("users?$search=Ann", 501)
    first = graph.get("users?$top=1&$orderby=displayName desc")
    second = graph.get(first["@odata.nextLink"].partition("/v1.0/")[2])
    assert "$skiptoken=" in first["@odata.nextLink"]
    assert [u["displayName"] for u in first["value"] + second["value"]] == ["Bob Ray", "Ann Lee"]
    assert "@odata.nextLink" not in second
    named = graph.get("users?$filter=mail eq 'ANN@contoso.example'")["value"]
    assert [u["displayName"] for u in named] == ["Ann Lee"]


# folders and pages


def test_folders_are_filtered_sorted_and_hidden(tenant: TenantControl, graph: Graph) -> None:
    hidden = tenant.do("/folders", mailbox="ann@contoso.example", name="Secret", hidden=True)["id"]

    def names(options: str = "") -> list[str]:
        return [f["displayName"] for f in graph.get(f"{ANN}/mailFolders?$top=50{options}")["value"]]

    assert names("&$filter=displayName eq 'Inbox'") == ["Inbox"]
    assert names("&$orderby=displayName desc") == sorted(names(), reverse=True)
    assert "Secret" not in names()
    assert "Secret" in names("&includeHiddenFolders=true")
    assert graph.get(f"{ANN}/mailFolders/{quoted(hidden)}")["isHidden"]


def test_pages_may_be_short_or_empty_and_go_on(
    simulator: Simulator, tenant: TenantControl, graph: Graph
) -> None:
    for number in range(7):
        tenant.send("x@fabrikam.com", ["ann@contoso.example"], subject=str(number))
    sizes, subjects = [], []
    simulator.pages(short=1.0, empty=1.0)
    link = f"{ANN}/messages?$top=4&$select=subject"
    while link:
        page = graph.get(link)
        sizes.append(len(page["value"]))
        subjects += [m["subject"] for m in page["value"]]
        link = page.get("@odata.nextLink", "").partition("/v1.0/")[2]
    assert sizes == [0, 2, 0, 2, 0, 2, 0, 1]
    assert sorted(subjects) == list("0123456")


# limits and faults


def test_subscription_writes_are_limited_per_application(
    simulator: Simulator, tenant: TenantControl, graph: Graph, webhook: Webhook
) -> None:
    simulator.limits(max_writes=2)
    made = graph.send("POST", "subscriptions", subscription(webhook, f"{ANN}/messages"), 201)
    graph.send("POST", "subscriptions", subscription(webhook, f"{BOB}/messages"), 201)
    refused = graph.http.delete(f"/v1.0/subscriptions/{made['id']}")
    assert (refused.status_code, code(refused.json())) == (429, "TooManyRequests")
    assert 0 < int(refused.headers["retry-after"]) <= 20
    graph.get(f"subscriptions/{made['id']}")


def test_faults_of_a_subscription_a_tenant_and_an_operation(
    simulator: Simulator, tenant: TenantControl, graph: Graph, webhook: Webhook
) -> None:
    one, other = (
        graph.send("POST", "subscriptions", subscription(webhook, f"{who}/messages"), 201)
        for who in (ANN, BOB)
    )
    simulator.fault(404, subscription=one["id"], code="ResourceNotFound", headers={"X-Why": "gone"})
    lost = graph.http.get(f"/v1.0/subscriptions/{one['id']}")
    assert (lost.status_code, lost.headers["x-why"]) == (404, "gone")
    graph.get(f"subscriptions/{other['id']}")
    simulator.clear_faults()

    simulator.fault(503, tenant=tenant.id, kind="user")
    simulator.fault(500, tenant="another")
    graph.get(ANN, 503)
    graph.get(f"{ANN}/messages")
    simulator.fault(502, kind="unsubscribe")
    graph.send("DELETE", f"subscriptions/{one['id']}", status=502)


def test_authority_is_away_for_one_tenant(simulator: Simulator, tenant: TenantControl) -> None:
    other = simulator.tenant(domain="other.example")
    simulator.fault(503, kind="token", tenant=tenant.id, code="AADSTS50196", headers={"Retry-After": "9"})
    answer = simulator.http.post(f"/{tenant.id}/oauth2/v2.0/token", data={})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "9")
    assert answer.json()["error_codes"] == [50196]
    other.app_token()
