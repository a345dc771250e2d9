"""The `$search` option of messages: words, phrases, and `property:word`, all of which have to be found.

Other parts of the keyword query language are not simulated, and are refused as such.
"""

import re
from collections.abc import Callable, Iterable, Mapping

from simulator.state.items import Message, Recipient

from . import errors
from .errors import GraphError

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_TERM = re.compile(r'\s*(?:(\w+):)?(?:"([^"]*)"|([^\s":()<>=*]+)(\*?))')
_WORD = re.compile(r"\w+")
_OPERATORS = frozenset(("and", "or", "not", "near"))


def _people(*recipients: Recipient | None) -> str:
    return " ".join(f"{each.name} {each.address}" for each in recipients if each)


PROPERTIES: Mapping[str, Callable[[Message], str]] = {
    "subject": lambda m: m.mail.subject,
    "body": lambda m: m.mail.body.read().as_kind("text").content,
    "from": lambda m: _people(m.mail.origin),
    "to": lambda m: _people(*m.mail.to),
    "cc": lambda m: _people(*m.mail.cc),
    "bcc": lambda m: _people(*m.mail.bcc),
    "recipients": lambda m: _people(*m.mail.to, *m.mail.cc, *m.mail.bcc),
    "participants": lambda m: _people(m.mail.origin, *m.mail.to, *m.mail.cc, *m.mail.bcc),
}
DEFAULT_PROPERTIES = ("from", "subject", "body")
"""Where Outlook searches a term without a property."""


def parse_search(text: str) -> Callable[[Message], bool]:
    """Parse a search; the result tests a message.

    Raises:
        GraphError: the search is malformed or not simulated.
    """
    quoted = _QUOTED.fullmatch(text.strip())
    query = quoted[1].replace('\\"', '"').replace("\\\\", "\\") if quoted else text.strip()
    terms: list[tuple[tuple[str, ...], list[str]]] = []
    position = 0
    while position < len(query.rstrip()):
        match = _TERM.match(query, position)
        if match is None:
            raise GraphError(errors.NOT_SIMULATED, f"the search {query}")
        name, phrase, word, _ = match.groups()
        if name is None and word is not None and word.lower() in _OPERATORS:
            raise GraphError(errors.NOT_SIMULATED, f"the operator {word} in a search")
        if name is not None and name.lower() not in PROPERTIES:
            raise GraphError(errors.NOT_SIMULATED, f"a search of {name}")
        words = _words(phrase if phrase is not None else word)
        terms.append(((name.lower(),) if name else DEFAULT_PROPERTIES, words))
        position = match.end()
    if not any(words for _, words in terms):
        raise GraphError(errors.OPTION, "$search", text)
    return lambda message: all(_is_found(message, names, words) for names, words in terms)


def _is_found(message: Message, names: Iterable[str], words: list[str]) -> bool:
    """Whether one property has the words in their order; a word is found by its beginning."""
    for name in names:
        found = _words(PROPERTIES[name](message))
        for start in range(len(found) - len(words) + 1):
            if all(there.startswith(word) for there, word in zip(found[start:], words, strict=False)):
                return True
    return False


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
