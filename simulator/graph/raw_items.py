"""Puts items of any JSON into responses (`Mailbox.raw_items`)."""

from collections.abc import Mapping
from typing import Any

import orjson

from .requests import GraphResponse


def put_raw_items(response: GraphResponse, raw_items: Mapping[str, bytes]) -> None:
    """Replaces the items of a response, a single one or those of a page, that have a JSON of their own."""
    if not raw_items or not isinstance(response.body, dict):
        return
    response.kind = ""  # it is none of Graph's schema
    values = response.body.get("value")
    if isinstance(values, list):
        response.body["value"] = [_raw_or_same(value, raw_items) for value in values]
    else:
        response.body = _raw_or_same(response.body, raw_items)


def _raw_or_same(item: Any, raw_items: Mapping[str, bytes]) -> Any:
    raw = raw_items.get(item.get("id", ""))
    return item if raw is None else orjson.Fragment(raw)
