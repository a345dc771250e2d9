"""The table of all paths below /users: counter, permissions, handler."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from simulator.state.world import World

from .calendars import calendar_view, get_event, list_events, list_instances
from .mail import get_folder, get_message, list_folders, list_messages
from .requests import GraphRequest, GraphResponse, Target
from .users import get_user

MAIL = ("Mail.Read", "Mail.ReadWrite")
MAIL_BASIC = ("Mail.ReadBasic.All", "Mail.ReadBasic")
CALENDAR = ("Calendars.Read", "Calendars.ReadWrite")
CALENDAR_BASIC = ("Calendars.ReadBasic.All", "Calendars.ReadBasic")
DIRECTORY = ("User.Read.All", "User.ReadBasic.All", "User.ReadWrite.All", "Directory.Read.All")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One readable path.

    Attributes:
        kind: its name in the counters and in faults.
        full: the application permissions that may read it with bodies.
        basic: the application permissions that may read it without bodies.
        handler: creates the response; None for the list of users, which has no target.
    """

    kind: str
    full: tuple[str, ...]
    basic: tuple[str, ...]
    handler: Callable[[World, GraphRequest, Target], GraphResponse] | None


ENDPOINTS: Mapping[tuple[tuple[str, ...], int], Endpoint] = {
    (("users",), 0): Endpoint("users", DIRECTORY, (), None),
    (("users",), 1): Endpoint("user", DIRECTORY, (), get_user),
    (("users", "mailfolders"), 1): Endpoint("folders", MAIL, MAIL_BASIC, list_folders),
    (("users", "mailfolders"), 2): Endpoint("folder", MAIL, MAIL_BASIC, get_folder),
    (("users", "mailfolders", "childfolders"), 2): Endpoint("folders", MAIL, MAIL_BASIC, list_folders),
    (("users", "mailfolders", "childfolders"), 3): Endpoint("folder", MAIL, MAIL_BASIC, get_folder),
    (("users", "messages"), 1): Endpoint("messages.window", MAIL, MAIL_BASIC, list_messages),
    (("users", "messages"), 2): Endpoint("message.by_id", MAIL, MAIL_BASIC, get_message),
    (("users", "mailfolders", "messages"), 2): Endpoint("messages.window", MAIL, MAIL_BASIC, list_messages),
    (("users", "mailfolders", "messages"), 3): Endpoint("message.by_id", MAIL, MAIL_BASIC, get_message),
    (("users", "events"), 1): Endpoint("events.window", CALENDAR, CALENDAR_BASIC, list_events),
    (("users", "events"), 2): Endpoint("event.by_id", CALENDAR, CALENDAR_BASIC, get_event),
    (("users", "events", "instances"), 2): Endpoint("instances", CALENDAR, CALENDAR_BASIC, list_instances),
    (("users", "calendarview"), 1): Endpoint("calendar_view", CALENDAR, CALENDAR_BASIC, calendar_view),
}
"""By the names in the path and the number of ids between them."""
