"""The application permissions that the calls of Graph need."""

import re

PERMISSIONS = {
    "": "User.Read.All",
    "mailfolders": "Mail.Read",
    "messages": "Mail.Read",
    "calendarview": "Calendars.Read",
    "events": "Calendars.Read",
}
"""What is below `users/{id}`, in lower case -> the permission that reads it with bodies."""
RESOURCE = re.compile(r"(?:^|/)users/[^/?]+(?:/(\w+))?")


def needed_permission(path: str) -> str | None:
    """The permission that a path needs, or None where that is unknown."""
    resource = RESOURCE.search(path)
    return PERMISSIONS.get((resource[1] or "").lower()) if resource else None
