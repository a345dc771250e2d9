"""Archived e-mail: a lenient parser of the header block; the body is decoded only when it is read.

The parser does not recurse into nested parts, and raises no error for a malformed message.
"""

import binascii
import email.utils
import inspect
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message as Headers
from email.parser import BytesParser, Parser
from email.policy import compat32
from typing import Any

from simulator.state.bodies import Body
from simulator.state.items import NORMAL, SENSITIVITIES, Recipient

MAX_BODY_SIZE = 1_000_000
"""Bytes; the rest of a body is dropped."""

MAX_PARTS = 100
MAX_DEPTH = 8
"""Parts and levels of a multipart body that are searched for its text."""

_HAS_STRICT = "strict" in inspect.signature(email.utils.getaddresses).parameters
_LENIENT: dict[str, Any] = {"strict": False} if _HAS_STRICT else {}
_BLANK = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
_FOLD = re.compile(r"[\r\n]+[ \t]*")
_QUOTED_FROM = re.compile(rb"(?m)^>(>*From )")
_PARSER = BytesParser(policy=compat32)
_TEXT_PARSER = Parser(policy=compat32)
_PARSER_ERRORS = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""Exceptions of the standard library for malformed messages."""
_IMPORTANCE = {"high": "high", "low": "low", "urgent": "high", "non-urgent": "low"}


@dataclass(frozen=True, slots=True)
class RawBody:
    """An encoded body, with its content type and transfer encoding."""

    kind: str
    encoding: str
    raw: bytes

    def read(self) -> Body:
        """Decode the body; of several parts the first text, plain text before HTML."""
        try:
            return _text(self.kind, self.encoding, self.raw)
        except (*_PARSER_ERRORS, MessageError):
            return Body("text", _clean(self.raw.decode("latin-1")))


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """The properties of a message that the simulator uses."""

    internet_message_id: str | None
    subject: str
    date: datetime | None
    origin: tuple[Recipient, ...]
    sender: Recipient | None
    to: tuple[Recipient, ...]
    cc: tuple[Recipient, ...]
    bcc: tuple[Recipient, ...]
    reply_to: tuple[Recipient, ...]
    importance: str
    sensitivity: str
    has_attachments: bool
    file: str
    body: RawBody


def parse(raw: bytes, *, quoted: bool = False) -> ParsedMessage:
    """Parse one message; `quoted` if it is from an mbox, whose bodies have `>From ` for `From `."""
    block, body = split(raw)
    headers = _TEXT_PARSER.parsestr(_read_headers(block), headersonly=True)
    body = body[:MAX_BODY_SIZE]
    if quoted and b"\n>" in b"\n" + body:
        body = _QUOTED_FROM.sub(rb"\1", body)
    kind = _first(headers, "content-type")
    sender = addresses(headers, "sender")
    sensitivity = _first(headers, "sensitivity").lower().removeprefix("company-")
    importance = _first(headers, "importance") or _first(headers, "priority")
    return ParsedMessage(
        internet_message_id=_clean(_first(headers, "message-id")) or None,
        subject=decode_text(_first(headers, "subject")),
        date=_date(_first(headers, "date")),
        origin=addresses(headers, "from"),
        sender=sender[0] if sender else None,
        to=addresses(headers, "to"),
        cc=addresses(headers, "cc"),
        bcc=addresses(headers, "bcc"),
        reply_to=addresses(headers, "reply-to"),
        importance=_IMPORTANCE.get(importance.lower(), "normal"),
        sensitivity=sensitivity if sensitivity in SENSITIVITIES else NORMAL,
        has_attachments=kind.lower().startswith("multipart/mixed"),
        file=_first(headers, "x-corpus-file"),
        body=RawBody(kind, _first(headers, "content-transfer-encoding"), body),
    )


def split(raw: bytes) -> tuple[bytes, bytes]:
    """Split a message into header block and body."""
    if raw[:1] in (b"\n", b"\r"):
        return b"", raw.lstrip(b"\r\n")
    blank = _BLANK.search(raw)
    return (raw, b"") if blank is None else (raw[: blank.end()], raw[blank.end() :])


def _read_headers(block: bytes) -> str:
    """The header block as text. A line beyond ASCII is UTF-8 where it can be, else Latin-1."""
    try:
        return block.decode()
    except UnicodeDecodeError:
        return "".join(_read_line(line) for line in block.splitlines(keepends=True))


def _read_line(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def addresses(headers: Headers, name: str) -> tuple[Recipient, ...]:
    """The addresses in all headers of a name: unchanged, not decoded, groups flattened.

    Entries without an address are omitted; display names are decoded.
    """
    values = [_string(value) for value in headers.get_all(name, [])]
    found: list[Recipient] = []
    for value in values:
        try:
            pairs = email.utils.getaddresses([value], **_LENIENT)
        except _PARSER_ERRORS:
            pairs = [("", value.strip())]
        found += [Recipient(decode_text(name), _clean(a)) for name, a in pairs if a]
    return tuple(found)


def decode_text(text: str) -> str:
    """Unfold and decode the text of a header; if decoding fails, only unfold it."""
    text = _FOLD.sub(" ", text).strip()
    if "=?" in text:
        try:
            text = str(make_header(decode_header(text)))
        except (*_PARSER_ERRORS, MessageError):
            pass
    return _clean(text)


def _string(value: object) -> str:
    try:
        return str(value)
    except _PARSER_ERRORS:
        return ""


def _first(headers: Headers, name: str) -> str:
    value = headers[name]
    return "" if value is None else _string(value).strip()


def _date(text: str) -> datetime | None:
    try:
        date = email.utils.parsedate_to_datetime(text)
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except _PARSER_ERRORS:
        return None


def _clean(text: str) -> str:
    """Replace invalid characters, so that the text is valid UTF-8."""
    if text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _text(kind: str, encoding: str, raw: bytes) -> Body:
    """Search the parts breadth first, bounded in number and depth."""
    level = [(kind, encoding, raw)]
    visited, found = 0, None
    for _ in range(MAX_DEPTH):
        below: list[tuple[str, str, bytes]] = []
        for each, how, content in level:
            visited += 1
            headers = Headers()
            headers["content-type"] = each.replace("\n", " ").replace("\r", " ") or "text/plain"
            what = headers.get_content_type()
            if what.startswith("multipart/") and visited < MAX_PARTS:
                below += _parts(content, headers.get_boundary() or "")
            elif what == "text/plain":
                return Body("text", _decoded(headers, how, content))
            elif what == "text/html" and found is None:
                found = Body("html", _decoded(headers, how, content))
        level = below[:MAX_PARTS]
    return found or Body("text", "")


def _parts(body: bytes, boundary: str) -> list[tuple[str, str, bytes]]:
    if not boundary:
        return []
    mark = b"\n--" + boundary.encode("utf-8", "surrogateescape")
    found = []
    for piece in (b"\n" + body).split(mark, MAX_PARTS)[1:MAX_PARTS]:
        if piece.startswith(b"--"):
            break
        after = piece.partition(b"\n")[2]
        block, content = split(after)
        headers = _PARSER.parsebytes(block, headersonly=True)
        if _first(headers, "content-disposition").lower().startswith("attachment"):
            continue
        encoding = _first(headers, "content-transfer-encoding")
        found.append((_first(headers, "content-type"), encoding, content))
    return found


def _decoded(headers: Headers, encoding: str, raw: bytes) -> str:
    how = encoding.lower()
    if how == "base64":
        kept = re.sub(rb"[^A-Za-z0-9+/]", b"", raw)
        if len(kept) % 4 == 1:
            kept = kept[:-1]
        raw = binascii.a2b_base64(kept + b"=" * (-len(kept) % 4))
    elif how == "quoted-printable":
        raw = binascii.a2b_qp(raw)
    charset = headers.get_content_charset() or "utf-8"
    for each in (charset, "utf-8"):
        try:
            return _clean(raw.decode(each))
        except (LookupError, UnicodeError, ValueError):
            continue
    return _clean(raw.decode("latin-1"))
