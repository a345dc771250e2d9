"""Handlers of mail folders and messages."""

from simulator.state.mailbox import ROOT, Folder
from simulator.state.world import World

from . import errors, odata, odata_filter, paging, resources
from .errors import GraphError
from .requests import GraphRequest, GraphResponse, Target

SENSITIVITY_EXPANSION = "singlevalueextendedproperties($filter=ideq'integer0x36')"
"""The only supported `$expand`, without spaces and in lower case."""


def list_folders(world: World, request: GraphRequest, target: Target) -> GraphResponse:
    """The folders below the root, or below another folder."""
    parent = _find_folder(target, request.keys[1] if len(request.keys) > 1 else ROOT)
    select = request.options.select
    rendered = [resources.folder(target.mailbox, f, select) for f in target.mailbox.child_folders(parent)]
    path = paging.collection_path(target, "mailFolders")
    return paging.page(world, request, path, rendered, lambda f: f, "mailFolder")


def get_folder(world: World, request: GraphRequest, target: Target) -> GraphResponse:
    """One folder."""
    item = _find_folder(target, request.keys[-1])
    body = resources.folder(target.mailbox, item, request.options.select)
    path = paging.collection_path(target, "mailFolders")
    return GraphResponse(200, paging.entity(world, request, path, body), "mailFolder")


def list_messages(world: World, request: GraphRequest, target: Target) -> GraphResponse:
    """The messages of the mailbox or of one folder."""
    folder = _find_folder(target, request.keys[1]) if len(request.keys) > 1 else None
    options, view = request.options, resources.View(request.prefer, target.bodies)
    expand = _expands_sensitivity(options, target)
    items = target.mailbox.messages_in(folder)
    if options.filter:
        kind = "Microsoft.OutlookServices.Message"
        condition = odata_filter.parse_filter(options.filter, resources.MESSAGE_FILTERS, kind)
        odata_filter.check_order(condition, options.orderby)
        items = [m for m in items if condition.test(m)]
    items = odata.sort_items(items, options.orderby, resources.MESSAGE_FILTERS, "Message")
    return paging.page(
        world,
        request,
        paging.collection_path(target, "messages"),
        items,
        lambda m: resources.message(view, m, options.select, expand),
        "message",
    )


def get_message(world: World, request: GraphRequest, target: Target) -> GraphResponse:
    """One message."""
    item = target.mailbox.find_message(request.keys[-1])
    if item is None:
        raise GraphError(errors.NO_ITEM)
    world.counters.fetched[target.tenant.id, target.user.oid].add(item.immutable_id)
    options, view = request.options, resources.View(request.prefer, target.bodies)
    body = resources.message(view, item, options.select, _expands_sensitivity(options, target))
    path = paging.collection_path(target, "messages")
    response = GraphResponse(200, paging.entity(world, request, path, body), "message")
    response.headers["ETag"] = body["@odata.etag"]
    return response


def _expands_sensitivity(options: odata.Options, target: Target) -> bool:
    """Whether the request expands the sensitivity, which is an extended property."""
    expand = (options.expand or "").replace(" ", "").lower()
    if not expand:
        return False
    if not target.bodies:
        raise GraphError(errors.DENIED)
    if expand != SENSITIVITY_EXPANSION:
        raise GraphError(errors.OPTION, "$expand", options.expand)
    return True


def _find_folder(target: Target, name: str) -> Folder:
    folder = target.mailbox.find_folder(name)
    if folder is None:
        raise GraphError(errors.NO_ITEM)
    return folder
