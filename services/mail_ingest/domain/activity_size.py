"""The size of an activity, bounded by its bytes on Kafka."""

from collections import Counter
from collections.abc import Callable

from shared.events import Activity
from shared.topics import MAX_ACTIVITY_BYTES

from .activities import NotCaptured, NotCapturedReason
from .payload_reader import Oddity

MAX_BYTES_PER_CHARACTER = 6
"""In JSON: a control character."""


def bounded(activity: Activity, oddities: Counter[Oddity]) -> Activity | NotCaptured:
    """The activity in at most `MAX_ACTIVITY_BYTES`: names are cut first, then the subject, addresses never.

    Args:
        activity: of any size.
        oddities: counts what is cut.
    """
    if _is_short(activity) or _fits(activity):
        return activity
    longest_name = max((len(each.name or "") for each in activity.participants), default=0)
    if longest_name:
        oddities[Oddity.NAMES_CUT] += 1
        cut = _longest_that_fits(longest_name, lambda length: _with_names(activity, length))
        if cut is not None:
            return cut
        activity = _with_names(activity, 0)
    if activity.subject:
        oddities[Oddity.SUBJECT_CUT] += 1
        cut = _longest_that_fits(
            len(activity.subject),
            lambda length: activity.model_copy(update={"subject": activity.subject[:length]}),
        )
        if cut is not None:
            return cut
    return NotCaptured(NotCapturedReason.TOO_LARGE)


def _longest_that_fits(longest: int, cut_to: Callable[[int], Activity]) -> Activity | None:
    """The activity with texts of the greatest length below `longest` with which it fits; None: none fits."""
    fits, too_long = -1, longest
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if _fits(cut_to(middle)):
            fits = middle
        else:
            too_long = middle
    return cut_to(fits) if fits >= 0 else None


def _with_names(activity: Activity, length: int) -> Activity:
    """The activity with names of at most this many characters."""
    participants = tuple(
        each.model_copy(update={"name": each.name[:length] or None}) if each.name else each
        for each in activity.participants
    )
    return activity.model_copy(update={"participants": participants})


def _is_short(activity: Activity) -> bool:
    """True when the activity fits whatever its characters are; quicker than `_fits`."""
    people = sum(len(each.address) + len(each.name or "") + 20 for each in activity.participants)
    ids = (activity.item, activity.internet_message_id, activity.ical_uid, activity.conversation)
    others = sum(len(text or "") for text in (activity.subject, activity.web_link, *ids))
    return (people + others + 500) * MAX_BYTES_PER_CHARACTER <= MAX_ACTIVITY_BYTES


def _fits(activity: Activity) -> bool:
    return len(activity.model_dump_json().encode()) <= MAX_ACTIVITY_BYTES
