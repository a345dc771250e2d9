"""Time zones by the names that calendars give them: IANA's, Windows', and UTC's by any of its names."""

from datetime import UTC, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from tzlocal.windows_tz import win_tz

UTC_NAMES = frozenset(
    {
        "z",
        "tzone://microsoft/utc",
        "coordinated universal time",
        "(utc) coordinated universal time",
        "greenwich mean time",
    }
)
"""Names of UTC, in lower case, beside those that the tables of IANA and of Windows have."""


class UnknownTimeZoneError(Exception):
    """No table has a time zone of this name; the item is not captured."""


def time_zone(name: str) -> tzinfo:
    """The time zone of this name, in any case.

    Raises:
        UnknownTimeZoneError: no table has the name.
    """
    wanted = name.strip().casefold()
    if wanted in UTC_NAMES:
        return UTC
    iana = _iana_names().get(wanted)
    if iana is None:
        raise UnknownTimeZoneError("neither a name of IANA nor one of Windows")
    return ZoneInfo(iana)


@cache
def _iana_names() -> dict[str, str]:
    """IANA's and Windows' names in lower case -> IANA's name."""
    iana = {name.casefold(): name for name in available_timezones()}
    return {windows.casefold(): name for windows, name in win_tz.items()} | iana
