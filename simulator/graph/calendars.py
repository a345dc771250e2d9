"""Handlers of events, instances of a series, and the calendar view."""

from datetime import datetime, timedelta

from simulator.state.items import Occurrence
from simulator.state.world import World

from . import comparables, errors, odata_filter, paging, resources
from .errors import GraphError
from .literals import parse_date_time
from .mail import well_formed
from .preferences import Preferences
from .requests import GraphRequest, GraphResponse, Target

MAX_WINDOW = timedelta(days=1825)
"""The longest calendar view of Exchange."""


def list_events(world: World, request: GraphRequest, target: Target) -> GraphResponse:
    """Single meetings and masters of series."""
    events = target.mailbox.events.values()
    stored = [target.mailbox.find_event(e.immutable_id) for e in events]
    items = sorted((o for o in stored if o), key=lambda o: o.meeting.start, reverse=True)
    return _occurrences(world, request, target, items, "events")


def get_event(world: World, request: GraphRequest, target: Target) -> GraphResponse:
    """One meeting, series or occurrence."""
    item = _find_event(target)
    view = resources.View(request.prefer, target.bodies)
    body = resources.event(view, item, request.options.select)
    immutable = resources.View(Preferences(immutable=True))
    fetched = resources.EVENT["id"](immutable, item)
    world.counters.fetched[target.tenant.id, target.user.oid].add(fetched)
    path = paging.collection_path(target, "events")
    response = GraphResponse(200, paging.entity(world, request, path, body), "event")
    response.headers["ETag"] = body["@odata.etag"]
    return response


def list_instances(world: World, request: GraphRequest, target: Target) -> GraphResponse:
    """The occurrences of a series in a window."""
    series = _find_event(target)
    if series.kind != "seriesMaster":
        raise GraphError(errors.NOT_SIMULATED, "the instances of an event that is no series")
    start, end = _window(request)
    items = target.mailbox.instances(series.event, start, end)
    return _occurrences(world, request, target, items, "events")


def calendar_view(world: World, request: GraphRequest, target: Target) -> GraphResponse:
    """The events that overlap a window, with series expanded."""
    start, end = _window(request)
    items = target.mailbox.calendar_view(start, end)
    return _occurrences(world, request, target, items, "calendarView")


def _occurrences(
    world: World, request: GraphRequest, target: Target, items: list[Occurrence], collection: str
) -> GraphResponse:
    options, view = request.options, resources.View(request.prefer, target.bodies)
    if options.filter:
        condition = odata_filter.parse_filter(options.filter, comparables.EVENT)
        items = [o for o in items if condition.test(o)]
    items = comparables.sort_items(items, options.orderby, comparables.EVENT)
    return paging.page(
        world,
        request,
        paging.collection_path(target, collection),
        items,
        lambda o: resources.event(view, o, options.select),
        "event",
    )


def _find_event(target: Target) -> Occurrence:
    occurrence = target.mailbox.find_event(well_formed(target.keys[0]))
    if occurrence is None:
        raise GraphError(errors.NO_ITEM)
    return occurrence


def _window(request: GraphRequest) -> tuple[datetime, datetime]:
    raw = request.options.raw
    if "startdatetime" not in raw or "enddatetime" not in raw:
        raise GraphError(errors.WINDOW)
    start, end = parse_date_time(raw["startdatetime"]), parse_date_time(raw["enddatetime"])
    if end < start:
        raise GraphError(errors.BACKWARD_WINDOW)
    if end - start > MAX_WINDOW:
        raise GraphError(errors.TOO_LONG_WINDOW, MAX_WINDOW.days)
    return start, end
