"""The source of an own archive: a folder of mail and a file or folder of records, checked before the start.

docs/own-archive.md specifies the content of the folders.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import UnusableArchiveError
from .records.files import FILE_FORMATS, read_records

MAIL_FORMATS = (".mbox", ".mbox.gz", ".eml", ".ics")
REFERENCE = "see docs/own-archive.md for the supported files"


@dataclass(frozen=True, slots=True)
class ArchiveSource:
    """A usable archive.

    Attributes:
        mail: the folder of mail.
        meetings: the folder of calendars, or None without calendars.
        records: the records that the demo publishes.
    """

    mail: Path
    meetings: Path | None
    records: Sequence[Mapping[str, Any]]


def load_source(mail: Path | None, records: Path | None, tenant: str) -> ArchiveSource:
    """Check the two paths, and read all records.

    Raises:
        UnusableArchiveError: a path is missing or holds nothing usable.
        RecordFileError: a file of records has an error.
    """
    if records is None:
        raise UnusableArchiveError(
            f"MAIL needs RECORDS: without records no mail has a record to match ({REFERENCE})."
        )
    if mail is None:
        raise UnusableArchiveError(
            f"RECORDS needs MAIL: without mail there is nothing to suggest ({REFERENCE})."
        )
    formats = _mail_formats(mail)
    if not records.exists():
        raise UnusableArchiveError(f"RECORDS: there is no {records}.")
    found = read_records(records, tenant)
    if not found:
        formats_text = " and no ".join(f"*{suffix}" for suffix in FILE_FORMATS)
        content = (
            f"in {records} there is no record, in no {formats_text}"
            if records.is_dir()
            else f"{records} holds no record"
        )
        raise UnusableArchiveError(f"RECORDS: {content} ({REFERENCE}).")
    return ArchiveSource(mail, mail if ".ics" in formats else None, found)


def _mail_formats(mail: Path) -> set[str]:
    """The formats of the files in the folder of mail."""
    if not mail.is_dir():
        raise UnusableArchiveError(
            f"MAIL: {mail} is a file; name its folder."
            if mail.exists()
            else f"MAIL: there is no folder {mail}."
        )
    formats = {suffix for path in mail.iterdir() for suffix in MAIL_FORMATS if path.name.endswith(suffix)}
    if not formats:
        patterns = ", ".join(f"*{suffix}" for suffix in MAIL_FORMATS)
        raise UnusableArchiveError(f"MAIL: in {mail} there is no mail, none of {patterns} ({REFERENCE}).")
    return formats
