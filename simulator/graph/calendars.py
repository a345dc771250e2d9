"""Handlers of events, instances of a series, and the calendar view."""

from datetime import datetime

from simulator.state.items import Occurrence
from simulator.state.world import World

from . import errors, odata, odata_filter, paging, resources
from .errors import GraphError
from .requests import GraphRequest, GraphResponse, Target


def list_events(world: World, request: GraphRequest, target: Target) -> GraphResponse:
    """Single meetings and masters of series."""
    events = target.mailbox.events.values()
    stored = [target.mailbox.find_event(e.immutable_id) for e in events]
    items = sorted((o for o in stored if o), key=lambda o: o.meeting.start, reverse=True)
    return _occurrences(world, request, target, items, "events")


def get_event(world: World, request: GraphRequest, target: Target) -> GraphResponse:
    """One meeting, series or occurrence."""
    item = _find_event(target, request.keys[-1])
    view = resources.View(request.prefer, target.bodies)
    body = resources.event(view, item, request.options.select)
    immutable = resources.View(odata.Preferences(immutable=True))
    fetched = resources.EVENT["id"](immutable, item)
    world.counters.fetched[target.tenant.id, target.user.oid].add(fetched)
    path = paging.collection_path(target, "events")
    response = GraphResponse(200, paging.entity(world, request, path, body), "event")
    response.headers["ETag"] = body["@odata.etag"]
    return response


def list_instances(world: World, request: GraphRequest, target: Target) -> GraphResponse:
    """The occurrences of a series in a window."""
    series = _find_event(target, request.keys[1])
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
    if options.expand:
        raise GraphError(errors.OPTION, "$expand", options.expand)
    if options.filter:
        kind = "Microsoft.OutlookServices.Event"
        condition = odata_filter.parse_filter(options.filter, resources.EVENT_FILTERS, kind)
        items = [o for o in items if condition.test(o)]
    items = odata.sort_items(items, options.orderby, resources.EVENT_FILTERS, "Event")
    return paging.page(
        world,
        request,
        paging.collection_path(target, collection),
        items,
        lambda o: resources.event(view, o, options.select),
        "event",
    )


def _find_event(target: Target, item: str) -> Occurrence:
    occurrence = target.mailbox.find_event(item)
    if occurrence is None:
        raise GraphError(errors.NO_ITEM)
    return occurrence


def _window(request: GraphRequest) -> tuple[datetime, datetime]:
    raw = request.options.raw
    if not raw.get("startdatetime") or not raw.get("enddatetime"):
        raise GraphError(errors.WINDOW)
    return odata.parse_instant(raw["startdatetime"]), odata.parse_instant(raw["enddatetime"])
