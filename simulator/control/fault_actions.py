"""Actions on faults: of responses, of pages, of notification delivery."""
# ruff: noqa: ARG001 - all actions have one signature, with or without a body

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from datetime import timedelta
from typing import Any

from simulator.state.faults import DeliveryFaults, Fault, PageFaults
from simulator.state.world import World

JsonBody = dict[str, Any]


def add_fault(world: World, body: JsonBody) -> Any:
    """Inject responses; `seconds` is how long from now, all else as in `Fault`."""
    seconds = body.pop("seconds", None)
    until = None if seconds is None else world.clock() + timedelta(seconds=seconds)
    world.faults.add(Fault(**body, until=until), world.clock())
    return {}


def list_hits(world: World, body: JsonBody) -> Any:
    """The requests that faults with a `label` have answered: when, which fault, and their subjects."""
    return [{"at": hit.at, "label": hit.label, **asdict(hit.subject)} for hit in world.faults.hits]


def clear_faults(world: World, body: JsonBody) -> Any:
    """Remove all faults of requests, of pages and of notifications."""
    world.faults.clear()
    return {}


def set_delivery_faults(world: World, body: JsonBody) -> Any:
    """Change the faults of notification delivery; return them all."""
    world.faults.delivery = replace(world.faults.delivery, **body)
    return {f.name: getattr(world.faults.delivery, f.name) for f in fields(DeliveryFaults)}


def set_page_faults(world: World, body: JsonBody) -> Any:
    """Change the shares of short and empty pages; return them both."""
    world.faults.pages = replace(world.faults.pages, **body)
    return {f.name: getattr(world.faults.pages, f.name) for f in fields(PageFaults)}


FAULT_ACTIONS: Mapping[tuple[str, str], Callable[[World, JsonBody], Any]] = {
    ("POST", "/faults"): add_fault,
    ("DELETE", "/faults"): clear_faults,
    ("GET", "/faults/hits"): list_hits,
    ("POST", "/faults/delivery"): set_delivery_faults,
    ("POST", "/faults/pages"): set_page_faults,
}
