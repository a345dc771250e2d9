"""The folder tree."""

from services.mail_ingest.domain.folders import folder_tree

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
WELL_KNOWN_IDS = {"junkemail": "junk", "deleteditems": "deleted", "sentitems": "sent"}


def test_junk_and_deleted_items_are_dead_with_all_folders_below() -> None:
    folders = folder_tree(TREE, WELL_KNOWN_IDS)

    assert folders.live == {"inbox", "projects", "sent", "old"}
    assert folders.dead == {"junk", "deleted", "below", "deeper"}
    assert folders.sent == {"sent", "old"}
    assert folders.deleted == {"deleted", "below", "deeper"}


def test_mailbox_may_lack_well_known_folders_and_a_cycle_ends() -> None:
    folders = folder_tree([("a", "b"), ("b", "a")], {})

    assert folders.live == {"a", "b"}
    assert not folders.contains("elsewhere")
