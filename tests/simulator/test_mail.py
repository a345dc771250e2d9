"""Mail in Graph: properties, ids, folders, filters, permissions."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from simulator.control.client import TenantControl
from simulator.state.tenants import CAPTURE_CLIENT_ID
from tests.simulator.conftest import IMMUTABLE, Graph, quoted

ANN, BOB = "users/ann@contoso.example", "users/bob@contoso.example"
SENSITIVITY = "$expand=singleValueExtendedProperties($filter=id eq 'Integer 0x36')"


def hello(tenant: TenantControl, **changes: Any) -> dict[str, Any]:
    """Send a mail from outside to Ann; return Ann's copy."""
    mail = {"subject": "Hello", "text": "Hello Ann,\nhow are you?", **changes}
    copies: list[dict[str, Any]] = tenant.send("pat@fabrikam.com", ["ann@contoso.example"], **mail)["copies"]
    return copies[0]


def test_mail_has_copies_for_sender_and_recipients(tenant: TenantControl, graph: Graph) -> None:
    sent = tenant.send(
        "ann@contoso.example",
        ["bob@contoso.example"],
        cc=["x@fabrikam.com"],
        bcc=["y@fabrikam.com"],
        subject="Plan",
    )
    anns = graph.get(f"{ANN}/mailFolders/sentitems/messages")["value"]
    bobs = graph.get(f"{BOB}/mailFolders('inbox')/messages")["value"]
    assert [m["internetMessageId"] for m in anns + bobs] == [sent["internet_message_id"]] * 2
    assert anns[0]["bccRecipients"] == [
        {"emailAddress": {"name": "y@fabrikam.com", "address": "y@fabrikam.com"}}
    ]
    assert bobs[0]["bccRecipients"] == []
    assert bobs[0]["from"] == {"emailAddress": {"name": "Ann Lee", "address": "ann@contoso.example"}}
    assert [r["emailAddress"]["address"] for r in bobs[0]["toRecipients"] + bobs[0]["ccRecipients"]] == [
        "bob@contoso.example",
        "x@fabrikam.com",
    ]


def test_immutable_ids_survive_a_move_and_default_ids_do_not(tenant: TenantControl, graph: Graph) -> None:
    copy = hello(tenant)
    tenant.move("ann@contoso.example", copy["id"], "archive")
    moved = graph.get(f"{ANN}/messages/{quoted(copy['id'])}", prefer=IMMUTABLE)
    assert moved["id"] == copy["id"]
    assert moved["parentFolderId"] == graph.get(f"{ANN}/mailFolders/archive")["id"]
    assert moved["changeKey"] != copy["change_key"]
    default = graph.get(f"{ANN}/messages/{quoted(copy['id'])}")["id"]
    assert default not in (copy["id"], copy["default_id"])
    assert graph.get(f"{ANN}/messages/{quoted(default)}")["subject"] == "Hello"
    assert (
        graph.get(f"{ANN}/messages/{quoted(copy['default_id'])}", 404)["error"]["code"] == "ErrorItemNotFound"
    )


def test_deleted_mail_is_in_deleted_items_or_does_not_exist(tenant: TenantControl, graph: Graph) -> None:
    copy = hello(tenant)
    tenant.delete("ann@contoso.example", copy["id"])
    folder = graph.get(f"{ANN}/mailFolders/deleteditems")
    assert (
        graph.get(f"{ANN}/messages/{quoted(copy['id'])}", prefer=IMMUTABLE)["parentFolderId"] == folder["id"]
    )
    assert folder["totalItemCount"] == 1
    tenant.delete("ann@contoso.example", copy["id"], hard=True)
    graph.get(f"{ANN}/messages/{quoted(copy['id'])}", 404)


def test_select_returns_only_the_selected_properties(tenant: TenantControl, graph: Graph) -> None:
    copy = hello(tenant)
    shown = graph.get(f"{ANN}/messages/{quoted(copy['id'])}?$select=subject,from")
    assert {k for k in shown if "@" not in k} == {"id", "subject", "from"}
    refused = graph.get(f"{ANN}/messages/{quoted(copy['id'])}?%24select=sensitivity", 400)
    assert refused["error"]["message"].startswith("Could not find a property named 'sensitivity'")


def test_bodies_have_the_preferred_type(tenant: TenantControl, graph: Graph) -> None:
    copy = hello(tenant)
    path = f"{ANN}/messages/{quoted(copy['id'])}"
    answer = graph.http.get(
        f"/v1.0/{path}", headers={"Prefer": 'outlook.body-content-type="text", IdType="ImmutableId"'}
    )
    assert answer.json()["body"] == {"contentType": "text", "content": "Hello Ann,\nhow are you?"}
    assert answer.headers["preference-applied"] == 'IdType=ImmutableId, outlook.body-content-type="text"'
    shown = graph.get(path)
    assert shown["body"]["contentType"] == "html"
    assert "Hello Ann,<br>" in shown["body"]["content"]
    assert shown["bodyPreview"] == "Hello Ann, how are you?"
    html = hello(tenant, html="<style>p{}</style><p>Dear Ann,</p><p>a &lt; b</p>")
    text = graph.get(f"{ANN}/messages/{quoted(html['id'])}", prefer='outlook.body-content-type="text"')
    assert text["body"]["content"] == "Dear Ann,\r\na < b"


def test_sensitivity_of_mail_is_an_extended_property_only(tenant: TenantControl, graph: Graph) -> None:
    copy = hello(tenant, sensitivity="private")
    shown = graph.get(f"{ANN}/messages/{quoted(copy['id'])}?{SENSITIVITY}")
    assert "sensitivity" not in shown
    assert shown["singleValueExtendedProperties"] == [{"id": "Integer 0x36", "value": "2"}]


def test_basic_permission_hides_bodies(tenant: TenantControl, connect: Callable[..., Graph]) -> None:
    tenant.app(CAPTURE_CLIENT_ID, roles=["Mail.ReadBasic.All"])
    graph = connect(tenant.app_token())
    copy = hello(tenant)
    shown = graph.get(f"{ANN}/messages/{quoted(copy['id'])}")
    assert shown["subject"] == "Hello"
    assert not {"body", "bodyPreview", "uniqueBody"} & shown.keys()
    assert "body" not in graph.get(f"{ANN}/messages?$select=body,subject")["value"][0]
    graph.get(f"{ANN}/messages/{quoted(copy['id'])}?{SENSITIVITY}", 403)
    assert graph.get(f"{ANN}/events", 401)["error"]["code"] == "NoPermissionsInAccessToken"
    assert graph.get(ANN, 403)["error"]["code"] == "Authorization_RequestDenied"


def test_a_window_is_read_in_pages(tenant: TenantControl, graph: Graph) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    for hours in range(1, 13):
        sent = now - timedelta(hours=hours)
        tenant.put(
            "ann@contoso.example", subject=str(hours), sent=sent.isoformat(), **{"from": "x@fabrikam.com"}
        )
    after = f"{now - timedelta(hours=11):%Y-%m-%dT%H:%M:%SZ}"
    options = (
        f"$filter=receivedDateTime ge {after}&$orderby=receivedDateTime desc&$select=subject&$count=true"
    )
    path = f"{ANN}/messages?{options}"
    first = graph.get(path)
    assert first["@odata.count"] == 11
    assert len(first["value"]) == 10
    second = graph.get(first["@odata.nextLink"].partition("/v1.0/")[2])
    assert [m["subject"] for m in first["value"] + second["value"]] == [str(n) for n in range(1, 12)]
    assert "@odata.nextLink" not in second
    assert len(graph.get(f"{path}&$top=500")["value"]) == 11
    paged = graph.http.get(f"/v1.0/{path}", headers={"Prefer": "odata.maxpagesize=4"})
    assert (len(paged.json()["value"]), paged.headers["preference-applied"]) == (4, "odata.maxpagesize=4")
    begin, end = (f"{now - timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}" for hours in (5, 3))
    both = f"receivedDateTime gt {begin} and receivedDateTime le {end}"
    assert [m["subject"] for m in graph.get(f"{ANN}/messages?$filter={both}")["value"]] == ["3", "4"]


@pytest.mark.parametrize(
    "query,code",
    [
        ("$filter=receivedDateTime ge 2020-01-01T00:00:00Z&$orderby=subject", "InefficientFilter"),
        ("$filter=colour eq 'red'", "RequestBroker--ParseUri"),
        ("$filter=receivedDateTime ge yesterday", "BadRequest"),
        ("$filter=(subject eq 'a'", "BadRequest"),
        ("$top=1001", "BadRequest"),
        ("$top=no", "BadRequest"),
        ("$orderby=subject sideways", "BadRequest"),
    ],
)
def test_invalid_options_are_rejected(graph: Graph, query: str, code: str) -> None:
    assert graph.get(f"{ANN}/messages?{query}", 400)["error"]["code"] == code


def test_filter_finds_an_internet_message_id(tenant: TenantControl, graph: Graph) -> None:
    copy = hello(tenant, internet_message_id="<it's.me@fabrikam.com>")
    found = graph.get(
        f"{ANN}/messages?$filter=internetMessageId eq '%3Cit''s.me@fabrikam.com%3E'", prefer=IMMUTABLE
    )
    assert [m["id"] for m in found["value"]] == [copy["id"]]


def test_all_forms_of_paths_are_accepted(tenant: TenantControl, graph: Graph) -> None:
    copy = hello(tenant)
    ann = graph.get(ANN)["id"]
    for path in (
        f"/Users('{ann}')/Messages('{quoted(copy['id'])}')",
        f"USERS/{ann}//messages/{quoted(copy['id'])}",
        f"users/{ann}/mailFolders/Inbox/messages/{quoted(copy['id'])}",
    ):
        assert graph.get(path)["subject"] == "Hello"
    assert graph.get("me/messages", 400)["error"]["code"] == "BadRequest"


def test_the_folder_tree(tenant: TenantControl, graph: Graph) -> None:
    inbox = graph.get(f"{ANN}/mailFolders/inbox")
    made = tenant.do("/folders", mailbox="ann@contoso.example", name="Clients", parent="inbox")["id"]
    names = {f["displayName"] for f in graph.get(f"{ANN}/mailFolders?$top=50")["value"]}
    assert {"Inbox", "Sent Items", "Deleted Items", "Junk Email", "Drafts"} < names
    assert "Clients" not in names
    assert [f["id"] for f in graph.get(f"{ANN}/mailFolders/{inbox['id']}/childFolders")["value"]] == [made]
    tenant.do("/folders/move", mailbox="ann@contoso.example", folder=made, parent="deleteditems")
    assert (
        graph.get(f"{ANN}/mailFolders/{made}")["parentFolderId"]
        == graph.get(f"{ANN}/mailFolders/deleteditems")["id"]
    )


def test_sent_draft_keeps_its_immutable_id(tenant: TenantControl, graph: Graph) -> None:
    draft = tenant.put("ann@contoso.example", subject="Soon", draft=True, to=["x@fabrikam.com"])
    assert graph.get(f"{ANN}/messages/{quoted(draft['id'])}")["isDraft"]
    tenant.do("/messages/change", mailbox="ann@contoso.example", id=draft["id"], send=True)
    sent = graph.get(f"{ANN}/mailFolders/sentitems/messages", prefer=IMMUTABLE)["value"]
    assert [(m["id"], m["isDraft"]) for m in sent] == [(draft["id"], False)]


def test_users(tenant: TenantControl, graph: Graph) -> None:
    ann = graph.get(ANN)
    assert (ann["mail"], ann["givenName"], ann["surname"]) == ("ann@contoso.example", "Ann", "Lee")
    assert graph.get(f"users/{ann['id']}?$select=id,accountEnabled")["accountEnabled"]
    assert [u["displayName"] for u in graph.get("users?$top=1")["value"]] == ["Ann Lee"]
    found = graph.get("users?$filter=userPrincipalName eq 'bob@contoso.example'")["value"]
    assert [u["displayName"] for u in found] == ["Bob Ray"]
    assert graph.get("users/eve@contoso.example", 404)["error"]["code"] == "Request_ResourceNotFound"


@pytest.mark.parametrize(
    "block,status,code",
    [
        ("access-policy", 403, "ErrorAccessDenied"),
        ("no-licence", 404, "MailboxNotEnabledForRESTAPI"),
        ("removed", 404, "ErrorInvalidUser"),
        ("throttled", 429, "ApplicationThrottled"),
    ],
)
def test_closed_mailbox_affects_no_other(
    tenant: TenantControl, graph: Graph, block: str, status: int, code: str
) -> None:
    tenant.block("ann@contoso.example", block, retry_after=7)
    answer = graph.http.get(f"/v1.0/{ANN}/messages", headers={"client-request-id": "mine"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert (
        answer.headers["client-request-id"]
        == answer.json()["error"]["innerError"]["client-request-id"]
        == "mine"
    )
    assert answer.headers["request-id"] == answer.json()["error"]["innerError"]["request-id"]
    assert answer.headers.get("retry-after") == ("7" if status == 429 else None)
    graph.get(f"{BOB}/messages")
    tenant.unblock("ann@contoso.example")
    graph.get(f"{ANN}/messages")


def test_tokens_are_valid_only_in_their_tenant(tenant: TenantControl, connect: Callable[..., Graph]) -> None:
    assert connect("nonsense").get(ANN, 401)["error"]["code"] == "InvalidAuthenticationToken"
    users = connect(tenant.mint("ann@contoso.example"))
    assert users.get(ANN, 401)["error"]["message"] == "Access token validation failure. Invalid audience."
    other = tenant.simulator.tenant(domain="other.example")
    connect(other.app_token()).get(ANN, 404)


def test_list_shows_each_change_whatever_was_listed_before(tenant: TenantControl, graph: Graph) -> None:
    def subjects(options: str = "") -> set[str]:
        return {m["subject"] for m in graph.get(f"{ANN}/messages?$top=50{options}")["value"]}

    first, second = hello(tenant, subject="First"), hello(tenant, subject="Second")
    assert subjects() == {"First", "Second"}
    assert subjects("&$filter=isRead eq true") == set()
    assert subjects() == {"First", "Second"}
    hello(tenant, subject="Third")
    assert subjects() == {"First", "Second", "Third"}
    tenant.delete("ann@contoso.example", second["id"], hard=True)
    assert subjects() == {"First", "Third"}
    tenant.move("ann@contoso.example", first["id"], "archive")
    archived = graph.get(f"{ANN}/mailFolders/archive/messages")["value"]
    inbox = graph.get(f"{ANN}/mailFolders/inbox/messages")["value"]
    assert [[m["subject"] for m in each] for each in (archived, inbox)] == [["First"], ["Third"]]
