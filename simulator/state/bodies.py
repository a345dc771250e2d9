"""Bodies of messages and meetings, and their conversion between text and HTML."""

import re
from dataclasses import dataclass
from html import escape, unescape
from typing import Protocol

PREVIEW = 255
"""Characters of a body that Graph shows as its preview."""

_HTML = (
    '<html><head>\r\n<meta http-equiv="Content-Type" content="text/html; charset=utf-8"></head>'
    "<body>{}</body></html>"
)
_INVISIBLE = re.compile(r"(?is)<(head|style|script|title)\b.*?</\1\s*>|<!--.*?-->")
_BREAK = re.compile(r"(?i)<(br|/p|/div|/tr|/li|/h[1-6])\b[^>]*>")
_TAG = re.compile(r"<[a-zA-Z/!?][^<>]*>")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Body:
    """A stored body; `kind` is text or html."""

    kind: str
    content: str

    def read(self) -> "Body":
        """This body."""
        return self

    def as_kind(self, kind: str) -> "Body":
        """Convert to `kind`, text or html."""
        if kind == self.kind:
            return self
        if kind == "html":
            lines = escape(self.content, quote=False).replace("\r\n", "\n").split("\n")
            return Body("html", _HTML.format("<br>\r\n".join(lines)))
        shown = _BREAK.sub("\r\n", _INVISIBLE.sub("", self.content))
        return Body("text", unescape(_TAG.sub("", shown)).strip())

    def preview(self) -> str:
        """The first 255 characters of the text, without markup and with runs of white space collapsed."""
        beginning = self if len(self.content) < 20_000 else Body(self.kind, self.content[:20_000])
        return _SPACE.sub(" ", beginning.as_kind("text").content).strip()[:PREVIEW]


class Readable(Protocol):
    """A body that may be decoded only when it is read."""

    def read(self) -> Body:
        """Return the decoded body."""
        ...


EMPTY = Body("text", "")
