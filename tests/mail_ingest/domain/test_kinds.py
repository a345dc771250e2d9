"""The table of activity kinds."""

from services.mail_ingest.domain.kinds import KINDS
from shared.events import ActivityKind


def test_each_kind_has_a_row() -> None:
    assert set(KINDS) == set(ActivityKind)
    assert all(row.kind is kind for kind, row in KINDS.items())


def test_no_field_is_distinctive_of_two_kinds() -> None:
    fields = [field for row in KINDS.values() for field in row.distinctive_fields]
    assert len(fields) == len(set(fields))


def test_selected_fields_hold_no_body_and_no_bcc() -> None:
    selected = {field.lower() for row in KINDS.values() for field in row.select}
    assert not selected & {"body", "bodypreview", "uniquebody", "bccrecipients"}
