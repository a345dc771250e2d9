"""Documents are read as they were written, and have declared fields alone."""

import pytest

from services.mail_ingest.domain.folders import Folders
from services.mail_ingest.domain.items import CapturedItem
from services.mail_ingest.domain.subscriptions import GraphSubscription
from services.mail_ingest.store.documents import (
    ITEM,
    KEPT_AT_ENROLMENT,
    MAILBOX,
    SUBSCRIPTION,
    LeaseState,
    Mailbox,
    NotifiedItem,
    enrolment,
)
from shared.events import MailboxStatus

from .stores import ANN, EMAIL, now, request


def test_documents_are_read_as_they_were_written() -> None:
    at = now()
    mailbox = Mailbox(
        "t",
        "ann",
        MailboxStatus.BLOCKED,
        at,
        reason="throttled",
        addresses=frozenset({"b@x.example", "a@x.example"}),
        folders=Folders(frozenset({"inbox"}), frozenset({"junk"})),
        notified_items=(NotifiedItem(EMAIL, "i", 7),),
        content_requests=(request(),),
        lease=LeaseState("h", at),
    )
    assert MAILBOX.read(MAILBOX.write(mailbox)) == mailbox
    assert MAILBOX.write(mailbox)["addresses"] == ["a@x.example", "b@x.example"]

    captured = CapturedItem("a/b", EMAIL, "k", "d", 3, at=at, missing=1)
    assert ITEM.read(ITEM.write(captured), "a/b") == captured
    assert "item" not in ITEM.write(captured)

    subscription = GraphSubscription("key", ANN, EMAIL, "secret", expires=at)
    assert SUBSCRIPTION.write(subscription)["owner"] == "t/ann"
    assert SUBSCRIPTION.read(SUBSCRIPTION.write(subscription), "key") == subscription


def test_absent_field_has_its_default_and_an_undeclared_one_is_refused() -> None:
    minimal = {"tenant": "t", "mailbox": "ann", "status": "enrolled", "since": now(), "more": 1}
    assert MAILBOX.read(minimal).notified_items == ()
    with pytest.raises(TypeError, match="not declared: more"):
        MAILBOX.write_fields(more=1)


def test_enrolment_sets_all_fields_but_those_that_are_kept() -> None:
    mailbox = Mailbox("t", "ann", MailboxStatus.ENROLLED, now())
    assert MAILBOX.write(mailbox).keys() == enrolment(mailbox).keys() | KEPT_AT_ENROLMENT
