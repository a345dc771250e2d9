"""The settings that events on `tracked-activities` depend on, and whom a change of them concerns."""

from collections.abc import Iterable
from dataclasses import dataclass

from .visibility import DefaultReaders


@dataclass(frozen=True, slots=True)
class EventSettings:
    """By which settings events are published.

    Attributes:
        default_readers: readers of the records that name none.
        publish_subjects: events carry the subject.
    """

    default_readers: DefaultReaders
    publish_subjects: bool


def changed_tenants(
    before: EventSettings | None, after: EventSettings, tenants: Iterable[str]
) -> dict[str, bool]:
    """The tenants whose events differ -> whether these close: users may read less of them.

    Args:
        before: the former settings; None: unknown, so that all events may differ.
        after: the present settings.
        tenants: the tenants to compare.
    """
    if before is None:
        return dict.fromkeys(tenants, True)
    changed = {}
    for tenant in tenants:
        old, new = (each.default_readers.for_tenant(tenant) for each in (before, after))
        if old != new or before.publish_subjects != after.publish_subjects:
            changed[tenant] = not set(old) <= set(new) or not after.publish_subjects
    return changed
