"""Handlers of mail folders and messages."""

from simulator.state import ids
from simulator.state.items import Message
from simulator.state.mailbox import ROOT, Folder
from simulator.state.world import World

from . import comparables, errors, odata, odata_filter, paging, resources
from .errors import GraphError
from .requests import GraphRequest, GraphResponse, Target
from .search import parse_search

SENSITIVITY_EXPANSION = "singlevalueextendedproperties($filter=ideq'integer0x36')"
"""The only simulated `$expand`, without spaces and in lower case."""

OTHER_WELL_KNOWN = frozenset(
    [
        "clutter",
        "conflicts",
        "localfailures",
        "recoverableitemsdeletions",
        "scheduled",
        "searchfolders",
        "serverfailures",
        "syncissues",
    ]
)
"""Well-known names of folders that no mailbox has here."""


def list_folders(world: World, request: GraphRequest, target: Target) -> GraphResponse:
    """The folders below the root, or below another folder."""
    parent = _find_folder(target, target.keys[0] if target.keys else ROOT)
    options, kind = request.options, comparables.FOLDER
    with_hidden = options.flag("includehiddenfolders")
    folders = [f for f in target.mailbox.child_folders(parent) if with_hidden or not f.hidden]
    if options.filter:
        condition = odata_filter.parse_filter(options.filter, kind)
        folders = [f for f in folders if condition.test(f)]
    folders = comparables.sort_items(folders, options.orderby, kind)
    return paging.page(
        world,
        request,
        paging.collection_path(target, "mailFolders"),
        folders,
        lambda f: resources.folder(target.mailbox, f, options.select),
        "mailFolder",
    )


def get_folder(world: World, request: GraphRequest, target: Target) -> GraphResponse:
    """One folder."""
    item = _find_folder(target, target.keys[-1])
    if len(target.keys) > 1 and item.parent != _find_folder(target, target.keys[0]).id:
        raise GraphError(errors.NO_ITEM)
    body = resources.folder(target.mailbox, item, request.options.select)
    path = paging.collection_path(target, "mailFolders")
    return GraphResponse(200, paging.entity(world, request, path, body), "mailFolder")


def list_messages(world: World, request: GraphRequest, target: Target) -> GraphResponse:
    """The messages of the mailbox or of one folder."""
    folder = _find_folder(target, target.keys[0]) if target.keys else None
    options, view = request.options, resources.View(request.prefer, target.bodies)
    expand = _expands_sensitivity(options, target)
    items = _search(folder, options, target) if options.search else _select(folder, options, target)
    return paging.page(
        world,
        request,
        paging.collection_path(target, "messages"),
        items,
        lambda m: resources.message(view, m, options.select, expand),
        "message",
        by_token=options.search is not None,
    )


def get_message(world: World, request: GraphRequest, target: Target) -> GraphResponse:
    """One message."""
    item = target.mailbox.find_message(well_formed(target.keys[-1]))
    folder = _find_folder(target, target.keys[0]) if len(target.keys) > 1 else None
    if item is None or (folder is not None and item.folder != folder.id):
        raise GraphError(errors.NO_ITEM)
    world.counters.fetched[target.tenant.id, target.user.oid].add(item.immutable_id)
    options, view = request.options, resources.View(request.prefer, target.bodies)
    body = resources.message(view, item, options.select, _expands_sensitivity(options, target))
    path = paging.collection_path(target, "messages")
    response = GraphResponse(200, paging.entity(world, request, path, body), "message")
    response.headers["ETag"] = body["@odata.etag"]
    return response


def well_formed(item: str) -> str:
    """The id of an item; GraphError if it has not the form of one."""
    if not ids.is_well_formed(item):
        raise GraphError(errors.MALFORMED_ID)
    return item


def _select(folder: Folder | None, options: odata.Options, target: Target) -> list[Message]:
    """The messages that a request selects, in its order.

    They are kept for the request's further pages: with 50,000 messages each page would take long, and every
    other request would wait.
    """
    key = (folder.id if folder else None, options.raw.get("$filter"), options.raw.get("$orderby"))
    kept = target.mailbox.selections
    if key not in kept:
        items = target.mailbox.messages_in(folder)
        if options.filter:
            condition = odata_filter.parse_filter(options.filter, comparables.MESSAGE)
            odata_filter.check_order(condition, options.orderby)
            items = [m for m in items if condition.test(m)]
        kept.clear()
        kept[key] = comparables.sort_items(items, options.orderby, comparables.MESSAGE)
    return kept[key]


def _search(folder: Folder | None, options: odata.Options, target: Target) -> list[Message]:
    """The messages that a request searches for."""
    for name, given in (("OrderBy", options.orderby), ("Filter", options.filter)):
        if given:
            raise GraphError(errors.SEARCH_WITH, name, name.lower())
    if "$skip" in options.raw or options.count:
        raise GraphError(errors.NOT_SIMULATED, "$skip or $count with $search")
    if not target.bodies:
        raise GraphError(errors.DENIED)
    is_found = parse_search(options.search or "")
    return [m for m in target.mailbox.messages_in(folder) if is_found(m)]


def _expands_sensitivity(options: odata.Options, target: Target) -> bool:
    """Whether the request expands the sensitivity, which is an extended property."""
    expand = (options.expand or "").replace(" ", "").lower()
    if not expand:
        return False
    if expand != SENSITIVITY_EXPANSION:
        raise GraphError(errors.NOT_SIMULATED, f"$expand={options.expand}")
    if not target.bodies:
        raise GraphError(errors.DENIED)
    return True


def _find_folder(target: Target, name: str) -> Folder:
    folder = target.mailbox.find_folder(name)
    if folder is None and name.lower() in OTHER_WELL_KNOWN:
        raise GraphError(errors.NOT_SIMULATED, f"the folder {name}")
    if folder is None:
        well_formed(name)
        raise GraphError(errors.NO_ITEM)
    return folder
