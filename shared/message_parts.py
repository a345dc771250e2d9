"""What all models of messages share, and the path of a field that one of them refuses."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import InvalidMessageError

UNDECLARED = "*"
"""In a path: the key of a mapping, or any other name that somebody has written."""


class MessagePart(BaseModel):
    """A message's value, or a part of one. Errors never hold what was found."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


def invalid_message_error(invalid: ValidationError) -> InvalidMessageError:
    """The first fault that a model found, without anything that somebody has written."""
    first = invalid.errors(include_url=False, include_context=False, include_input=False)[0]
    return InvalidMessageError(first["msg"], field_path(first["loc"]))


def field_path(location: tuple[int | str, ...]) -> str:
    """The path of a field, such as `emails.1`: only indexes and declared names are in it."""
    path: list[str] = []
    declared = _declared_fields()
    after_mapping = False
    for part in location:
        is_shown = isinstance(part, int) or (part in declared and not after_mapping)
        path.append(str(part) if is_shown else UNDECLARED)
        after_mapping = not after_mapping and declared.get(str(part), False)
    return ".".join(path)


@cache
def _declared_fields() -> Mapping[str, bool]:
    """The name of every field of a message -> whether it is a mapping, whose keys are data."""
    fields: dict[str, bool] = {}
    for model in _subclasses(MessagePart):
        for name, field in model.model_fields.items():
            fields[name] = fields.get(name, False) or _has_mapping(field.annotation)
    return fields


def _subclasses(model: type[MessagePart]) -> Iterator[type[MessagePart]]:
    for subclass in model.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _has_mapping(annotation: Any) -> bool:
    return get_origin(annotation) is dict or any(map(_has_mapping, get_args(annotation)))
