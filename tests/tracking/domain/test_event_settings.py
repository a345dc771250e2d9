import pytest

from services.tracking.domain.event_settings import EventSettings, changed_tenants
from services.tracking.domain.visibility import DefaultReaders
from tests.tracking.worlds import CONTOSO, FABRIKAM

TENANTS = (CONTOSO, FABRIKAM)
OPEN = EventSettings(DefaultReaders({"*": ("*",)}), publish_subjects=True)


def with_readers(publish_subjects: bool = True, **readers: tuple[str, ...]) -> EventSettings:
    by_tenant = {"*": ("*",)} | {name.replace("_", "-"): each for name, each in readers.items()}
    return EventSettings(DefaultReaders(by_tenant), publish_subjects)


SALES = with_readers(tenant_contoso=("group:sales",))
SALES_AND_ANN = with_readers(tenant_contoso=("group:sales", "user:oid-ann"))
NO_SUBJECTS = with_readers(publish_subjects=False)


@pytest.mark.parametrize(
    "before,after,changed",
    [
        (OPEN, OPEN, {}),
        (OPEN, SALES, {CONTOSO: True}),
        (SALES_AND_ANN, SALES, {CONTOSO: True}),
        (SALES, SALES_AND_ANN, {CONTOSO: False}),
        (OPEN, NO_SUBJECTS, {CONTOSO: True, FABRIKAM: True}),
        (NO_SUBJECTS, OPEN, {CONTOSO: False, FABRIKAM: False}),
        (None, OPEN, {CONTOSO: True, FABRIKAM: True}),
    ],
    ids=["same", "narrowed", "one reader less", "one more", "subjects off", "subjects on", "unknown"],
)
def test_tenants_whose_events_differ_and_whether_these_close(
    before: EventSettings | None, after: EventSettings, changed: dict[str, bool]
) -> None:
    assert changed_tenants(before, after, TENANTS) == changed
