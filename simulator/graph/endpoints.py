"""The table of all paths below /users that are simulated: counter, permission, applied options, handler."""

from collections.abc import Callable
from dataclasses import dataclass

from simulator.state.world import World

from .access import CALENDAR, DIRECTORY, MAIL, Permission
from .calendars import calendar_view, get_event, list_events, list_instances
from .mail import get_folder, get_message, list_folders, list_messages
from .requests import GraphRequest, GraphResponse, Target
from .users import get_user, list_users

ENTITY = frozenset(("$select",))
COLLECTION = ENTITY | {"$top", "$skip", "$skiptoken", "$count"}
SORTED = COLLECTION | {"$filter", "$orderby"}
MESSAGES = SORTED | {"$expand", "$search"}
FOLDERS = SORTED | {"includehiddenfolders"}
WINDOW = SORTED | {"startdatetime", "enddatetime"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One readable path.

    Attributes:
        path: its template; `{}` is an id.
        kind: its name in the counters and in faults.
        permission: who may read it.
        options: the query options that its handler applies; any other one is refused.
        handler: creates the response.
    """

    path: str
    kind: str
    permission: Permission
    options: frozenset[str]
    handler: Callable[[World, GraphRequest, Target], GraphResponse]


USERS = "users"
"""The path without a target."""

ENDPOINTS = (
    Endpoint(USERS, "users", DIRECTORY, SORTED, list_users),
    Endpoint("users/{}", "user", DIRECTORY, ENTITY, get_user),
    Endpoint("users/{}/mailFolders", "folders", MAIL, FOLDERS, list_folders),
    Endpoint("users/{}/mailFolders/{}", "folder", MAIL, ENTITY, get_folder),
    Endpoint("users/{}/mailFolders/{}/childFolders", "folders", MAIL, FOLDERS, list_folders),
    Endpoint("users/{}/mailFolders/{}/childFolders/{}", "folder", MAIL, ENTITY, get_folder),
    Endpoint("users/{}/messages", "messages.window", MAIL, MESSAGES, list_messages),
    Endpoint("users/{}/messages/{}", "message.by_id", MAIL, ENTITY | {"$expand"}, get_message),
    Endpoint("users/{}/mailFolders/{}/messages", "messages.window", MAIL, MESSAGES, list_messages),
    Endpoint("users/{}/mailFolders/{}/messages/{}", "message.by_id", MAIL, ENTITY | {"$expand"}, get_message),
    Endpoint("users/{}/events", "events.window", CALENDAR, SORTED, list_events),
    Endpoint("users/{}/events/{}", "event.by_id", CALENDAR, ENTITY, get_event),
    Endpoint("users/{}/events/{}/instances", "instances", CALENDAR, WINDOW, list_instances),
    Endpoint("users/{}/calendarView", "calendar_view", CALENDAR, WINDOW, calendar_view),
    Endpoint("users/{}/calendar/events", "events.window", CALENDAR, SORTED, list_events),
    Endpoint("users/{}/calendar/events/{}", "event.by_id", CALENDAR, ENTITY, get_event),
    Endpoint("users/{}/calendar/events/{}/instances", "instances", CALENDAR, WINDOW, list_instances),
    Endpoint("users/{}/calendar/calendarView", "calendar_view", CALENDAR, WINDOW, calendar_view),
)
