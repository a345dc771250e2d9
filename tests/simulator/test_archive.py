"""Archives: read, shifted to the present, released step by step."""

import gzip
from codecs import BOM_UTF8
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from simulator.archive import mime, reader
from simulator.control.client import ControlError, Simulator, TenantControl
from simulator.state import recurrence
from tests.simulator.conftest import IMMUTABLE, Graph, Webhook, until

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def letter(
    number: int, sender: str = "pat@fabrikam.com", to: str = "ann@contoso.example", date: str | None = None
) -> str:
    when = date or f"Mon, 0{number % 7 + 1} Jan 2001 10:00:00 +0100"
    header = f"Message-ID: <{number}@fabrikam.com>\nDate: {when}\nFrom: {sender}\nTo: {to}\n"
    return f"{header}Subject: Letter {number}\n\nBody {number}\n>From here on\n"


def mbox(*letters: str) -> bytes:
    return "\n".join(f"From x Mon Jan  1 00:00:00 2001\n{each}" for each in letters).encode()


def calendar(*events: str) -> str:
    return "\r\n".join(("BEGIN:VCALENDAR", "VERSION:2.0", *events, "END:VCALENDAR", ""))


def vevent(uid: str, start: str, *more: str) -> str:
    return "\r\n".join(
        (
            "BEGIN:VEVENT",
            f"UID:{uid}",
            f"DTSTART:{start}",
            "DURATION:PT45M",
            f"SUMMARY:About {uid}",
            "ORGANIZER;CN=Pat:MAILTO:pat@fabrikam.com",
            "ATTENDEE;ROLE=REQ-PARTICIPANT:mailto:Ann@Contoso.example",
            "ATTENDEE;ROLE=OPT-PARTICIPANT:mailto:bob@contoso.example",
            *more,
            "END:VEVENT",
        )
    )


def test_one_mbox_is_one_mailbox(tmp_path: Path) -> None:
    (tmp_path / "ann.mbox").write_bytes(mbox(letter(1), letter(2)))
    (tmp_path / "bob.mbox.gz").write_bytes(gzip.compress(mbox(letter(2))))
    (tmp_path / "notes.txt").write_text("ignored")
    found = reader.read(tmp_path, None, NOW).mail
    assert {name: [m.subject for m in mails] for name, mails in found.items()} == {
        "ann": ["Letter 1", "Letter 2"],
        "bob": ["Letter 2"],
    }
    assert found["ann"][0].body.read().content == "Body 1\nFrom here on\n"
    assert found["ann"][1].sent == found["bob"][0].sent


def test_eml_files_are_the_mailbox_of_their_folder(tmp_path: Path) -> None:
    folder = tmp_path / "ann"
    folder.mkdir()
    (folder / "1.eml").write_text(letter(1))
    (folder / "2.eml").write_text(letter(2))
    assert [m.subject for m in reader.read(folder, None, NOW).mail["ann"]] == ["Letter 1", "Letter 2"]


def test_an_index_names_the_mailboxes(tmp_path: Path) -> None:
    (tmp_path / "all.mbox").write_bytes(mbox(letter(1), letter(2), letter(3)))
    rows = [
        {"id": "<1@fabrikam.com>", "owners": ["ann", "bob"]},
        {"id": "<2@fabrikam.com>", "owners": ["bob"]},
    ]
    (tmp_path / "index.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    found = reader.read(tmp_path, None, NOW).mail
    assert {name: [m.subject for m in mails] for name, mails in found.items()} == {
        "ann": ["Letter 1"],
        "bob": ["Letter 1", "Letter 2"],
        "all": ["Letter 3"],
    }


def test_dates_keep_their_order_and_become_recent(tmp_path: Path) -> None:
    dates = (
        "Fri, 31 Dec 1999 23:00:00 -0200",
        "Fri, 31 Dec 1999 23:00:00 +0000",
        "Tue, 01 Jan 2080 00:00:00 GMT",
        "never",
    )
    (tmp_path / "ann.mbox").write_bytes(mbox(*(letter(n, date=date) for n, date in enumerate(dates))))
    found = reader.read(tmp_path, None, NOW).mail["ann"]
    assert [m.subject for m in found] == ["Letter 3", "Letter 1", "Letter 0", "Letter 2"]
    assert found[0].sent == NOW - timedelta(hours=48)
    assert found[-1].sent == NOW - timedelta(hours=1)


def test_addresses_are_not_changed() -> None:
    found = mime.parse(
        b"From: =?utf-8?q?Zo=C3=AB?= <Zoe@Fabrikam.com>, second@fabrikam.com\r\n"
        b"To: undisclosed: a@x.example, b@x.example;\r\n"
        b'Cc: "Doe, Jane" <jane@x.example>,\r\n\tnot an address, f..c@enron.com\r\n'
        b"Subject: =?utf-8?b?R3LDvMOfZQ==?= and\r\n more\r\n\r\nHi"
    )
    assert [r.address for r in found.origin] == ["Zoe@Fabrikam.com", "second@fabrikam.com"]
    assert found.origin[0].name == "Zoë"
    assert [r.address for r in found.to] == ["a@x.example", "b@x.example"]
    assert [r.address for r in found.cc][:1] == ["jane@x.example"]
    assert [r.address for r in found.cc][-1] == "f..c@enron.com"
    assert found.subject == "Grüße and more"
    assert found.internet_message_id is None


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_header_beyond_ascii_is_utf_8_or_latin_1(encoding: str) -> None:
    found = mime.parse(
        "From: Jörg <jörg@fabrikam.com>\nSubject: Grüße\n".encode(encoding)
        + "To: Zoë <zoë@fabrikam.com>\n\nHi".encode()
    )
    assert [(each.name, each.address) for each in (*found.origin, *found.to)] == [
        ("Jörg", "jörg@fabrikam.com"),
        ("Zoë", "zoë@fabrikam.com"),
    ]
    assert found.subject == "Grüße"


def test_byte_order_mark_is_no_part_of_the_first_header(tmp_path: Path) -> None:
    (tmp_path / "ann.mbox").write_bytes(BOM_UTF8 + mbox(letter(1), letter(2)))
    (tmp_path / "3.eml").write_bytes(BOM_UTF8 + letter(3).encode())
    found = reader.read(tmp_path, None, NOW).mail
    subjects = sorted(each.subject for mails in found.values() for each in mails)
    assert subjects == ["Letter 1", "Letter 2", "Letter 3"]
    assert {each.internet_message_id for each in found["ann"]} == {"<1@fabrikam.com>", "<2@fabrikam.com>"}


@pytest.mark.parametrize(
    "attendee",
    [
        ":jo@fabrikam.com",
        ":MAILTO:jo@fabrikam.com",
        ": mailto: jo@fabrikam.com",
        ":MAILTO:mailto:jo@fabrikam.com",
        ":mailto:jo%40fabrikam.com",
        ":mailto:j%6F@fabrikam.com?subject=Hello",
        ";EMAIL=jo@fabrikam.com:/1089532/principal/",
        ';EMAIL="mailto:jo@fabrikam.com":urn:uuid:1234',
        ";CN=Jo;EMAIL=jo@fabrikam.com:invalid:nomail",
    ],
)
def test_calendar_address_is_mailto_or_the_parameter(attendee: str, tmp_path: Path) -> None:
    event = vevent("one", "20010101T090000Z", f"ATTENDEE{attendee}")
    (tmp_path / "ann.ics").write_text(calendar(event))
    [meeting] = reader.read(None, tmp_path, NOW).meetings["ann"]
    assert meeting.attendees[-1].recipient.address == "jo@fabrikam.com"


@pytest.mark.parametrize("zone, time", [("", "T230000Z"), (";TZID=America/New_York", "T230000")])
def test_excluded_date_leaves_out_the_occurrence_of_that_day(zone: str, time: str, tmp_path: Path) -> None:
    event = vevent(
        "one", "20010101T090000Z", "RRULE:FREQ=DAILY;COUNT=4", "EXDATE;VALUE=DATE:20010102,20010104"
    )
    event = event.replace("DTSTART:20010101T090000Z", f"DTSTART{zone}:20010101{time}")
    (tmp_path / "ann.ics").write_text(calendar(event))
    [meeting] = reader.read(None, tmp_path, NOW).meetings["ann"]
    later = timedelta(days=9)
    starts = list(recurrence.starts(meeting, meeting.start, meeting.start + later))
    assert starts == [meeting.start, meeting.start + timedelta(days=2)]


@pytest.mark.parametrize(
    "raw,text",
    [
        (b"", ""),
        (b"\n\n", ""),
        (b"no header at all", ""),
        (b"Content-Type: text/plain; charset=nonsense\n\nna\xefve", "naïve"),
        (b"Content-Transfer-Encoding: base64\n\nSGVsbG8=!!", "Hello"),
        (b"Content-Transfer-Encoding: quoted-printable\n\na=3Db=\nc", "a=bc"),
        (
            (
                b'Content-Type: multipart/mixed; boundary="b"\n\npre\n'
                b"--b\nContent-Type: text/html\n\n<p>x</p>\n--b\n\nplain\n--b--\n"
            ),
            "plain",
        ),
        (b"Content-Type: multipart/mixed\n\nno boundary", ""),
        (b"Content-Type: text/plain; charset*0=utf-8''x; charset=\xff\n\nstill", "still"),
    ],
)
def test_malformed_bodies_are_decoded(raw: bytes, text: str) -> None:
    assert mime.parse(raw).body.read().content.strip() == text


def test_parser_is_bounded_for_deep_nesting_and_long_headers() -> None:
    nested = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (n, n) for n in range(5000))
    assert mime.parse(b"From: a@x.example\n" + nested).body.read().content == ""
    comments = mime.parse(b"From: " + b"(" * 20_000 + b" <a@x.example>\nSubject: =?utf-8?b?!!?=\n\n")
    assert len(comments.origin) <= 1
    many = b"To: " + b",\n ".join(b"n%d@x.example" % n for n in range(3000)) + b"\n\n"
    assert len(mime.parse(many).to) == 3000


def test_calendars_are_read(tmp_path: Path) -> None:
    series = vevent(
        "series", "20010101T090000Z", "RRULE:FREQ=WEEKLY;BYDAY=MO,WE;COUNT=6", "EXDATE:20010103T090000Z"
    )
    exception = vevent("series", "20010108T110000Z", "RECURRENCE-ID:20010108T090000Z")
    day = (
        "BEGIN:VEVENT\r\nUID:day\r\nDTSTART;VALUE=DATE:20010105\r\n"
        "SUMMARY:A day\r\nCLASS:PRIVATE\r\nEND:VEVENT"
    )
    (tmp_path / "ann.ics").write_text(calendar(vevent("one", "20001231T090000Z"), series, exception, day))
    (tmp_path / "bob.ics").write_text("BEGIN:VCALENDAR\nBEGIN:VEVENT\nnonsense\nEND:VEVENT\n")
    (tmp_path / "notes.txt").write_text("ignored")
    content = reader.read(None, tmp_path, NOW)
    one, found, whole = content.meetings["ann"]
    assert [m.uid for m in (one, found, whole)] == ["one", "series", "day"]
    assert one.start == NOW - timedelta(hours=48)
    assert one.length == timedelta(minutes=45)
    assert one.organizer is not None
    assert one.organizer.address == "pat@fabrikam.com"
    assert [(a.kind, a.recipient.address) for a in one.attendees] == [
        ("required", "Ann@Contoso.example"),
        ("optional", "bob@contoso.example"),
    ]
    assert found.recurrence is not None
    moved = found.start - datetime(2001, 1, 1, 9, tzinfo=UTC)
    assert found.recurrence.excluded == {datetime(2001, 1, 3, 9, tzinfo=UTC) + moved}
    assert list(found.recurrence.overrides) == [datetime(2001, 1, 8, 9, tzinfo=UTC) + moved]
    assert (whole.all_day, whole.sensitivity, whole.length) == (True, "private", timedelta(days=1))
    assert whole.start.hour == 0


@pytest.fixture
def loaded(tmp_path: Path, tenant: TenantControl) -> dict[str, dict[str, Any]]:
    mail, meetings = tmp_path / "mail", tmp_path / "meetings"
    mail.mkdir()
    meetings.mkdir()
    (mail / "jo.mbox").write_bytes(
        mbox(
            *(letter(n) for n in range(5)),
            letter(9, sender="Jo <JO@old.example>", date="Mon, 01 Jan 1990 00:00:00 GMT"),
        )
    )
    (mail / "mailboxes.json").write_bytes(
        orjson.dumps({"jo": {"addresses": ["jo@old.example", "jo@new.example"]}})
    )
    (mail / "_odd.mbox").write_bytes(mbox(letter(1)))
    (meetings / "jo.ics").write_text(
        calendar(*(vevent(f"m{n}", f"2001010{n + 1}T090000Z") for n in range(3)))
    )
    return {each["name"]: each for each in tenant.load_archive(mail, meetings)}


def test_nothing_arrives_before_its_release(
    tenant: TenantControl, graph: Graph, loaded: dict[str, dict[str, Any]]
) -> None:
    jo = loaded["jo"]
    assert (jo["messages"], jo["meetings"], jo["released"], jo["remaining"]) == (6, 3, 0, 9)
    assert (jo["address"], jo["upn"]) == ("jo@old.example", "jo@contoso.example")
    assert loaded["_odd"]["address"] == "_odd@contoso.example"
    assert graph.get(f"users/{jo['oid']}/messages")["value"] == []
    assert tenant.release("jo", 4) == {"released": 4, "remaining": 6}
    assert tenant.release(jo["oid"], 100) == {"released": 5, "remaining": 1}
    assert tenant.release() == {"released": 1, "remaining": 0}
    sent = graph.get(f"users/{jo['oid']}/mailFolders/sentitems/messages")["value"]
    assert [m["subject"] for m in sent] == ["Letter 9"]
    inbox = graph.get(f"users/{jo['oid']}/mailFolders/inbox/messages")["value"]
    assert [m["subject"] for m in inbox] == ["Letter 4", "Letter 3", "Letter 2", "Letter 1", "Letter 0"]
    events = graph.get(f"users/{jo['oid']}/events")["value"]
    assert {e["iCalUId"] for e in events} == {"m0", "m1", "m2"}
    assert tenant.archive()[1]["remaining"] == 0
    with pytest.raises(ControlError):
        tenant.release("nobody", 1)


def test_file_named_like_an_address_is_the_mailbox_of_that_address(
    tenant: TenantControl, graph: Graph, tmp_path: Path
) -> None:
    (tmp_path / "Jo.Doe@fabrikam.com.mbox").write_bytes(
        mbox(letter(1, sender="jo.doe@fabrikam.com"), letter(2))
    )
    [jo] = tenant.load_archive(tmp_path)
    assert (jo["address"], jo["upn"]) == ("Jo.Doe@fabrikam.com", "Jo.Doe@fabrikam.com")
    tenant.release()
    for folder, subject in (("sentitems", "Letter 1"), ("inbox", "Letter 2")):
        assert [
            m["subject"] for m in graph.get(f"users/{jo['oid']}/mailFolders/{folder}/messages")["value"]
        ] == [subject]


def test_user_ids_are_deterministic(simulator: Simulator, tmp_path: Path) -> None:
    (tmp_path / "jo.mbox").write_bytes(mbox(letter(1)))
    one, same, other = (simulator.tenant(t).load_archive(tmp_path)[0]["oid"] for t in ("t-1", "t-1", "t-2"))
    assert one == same != other


def test_released_items_are_notified_and_fetched(
    simulator: Simulator,
    tenant: TenantControl,
    graph: Graph,
    webhook: Webhook,
    loaded: dict[str, dict[str, Any]],
) -> None:
    simulator.delivery(followed_by_updated=False)
    jo = loaded["jo"]["oid"]
    for collection in ("messages", "events"):
        body = {
            "changeType": "created",
            "notificationUrl": webhook.url,
            "resource": f"users/{jo}/{collection}",
            "expirationDateTime": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
        }
        graph.send("POST", "subscriptions", body, 201, prefer=IMMUTABLE)
    tenant.release("jo")
    until(lambda: len(webhook.notifications) == 9)
    for notification in webhook.notifications:
        graph.get(notification["resource"], prefer=IMMUTABLE)
    counters = simulator.counters(items=True)["mailboxes"][jo]
    assert (counters["fetched_by_id"], counters["not_fetched"]) == (9, [])


def test_missing_folder_is_an_error(tenant: TenantControl, tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="no folder"):
        tenant.load_archive(tmp_path / "nowhere")
