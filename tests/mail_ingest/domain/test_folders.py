"""Which folders are live."""

from services.mail_ingest.domain.folders import tree

TREE = [
    ("inbox", None),
    ("projects", "inbox"),
    ("junk", None),
    ("deleted", None),
    ("below", "deleted"),
    ("deeper", "below"),
    ("sent", None),
    ("old", "sent"),
]
NAMES = {"junkemail": "junk", "deleteditems": "deleted", "sentitems": "sent"}


def test_junk_deleted_items_and_what_is_below_them_are_dead() -> None:
    folders = tree(TREE, NAMES)

    assert folders.live == {"inbox", "projects", "sent", "old"}
    assert folders.dead == {"junk", "deleted", "below", "deeper"}
    assert folders.sent == {"sent", "old"}


def test_a_mailbox_may_lack_a_well_known_folder_and_a_circle_ends() -> None:
    folders = tree([("a", "b"), ("b", "a")], {})

    assert folders.live == {"a", "b"}
    assert not folders.known("elsewhere")
