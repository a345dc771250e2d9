"""The `$select` option: the properties of a type that a response has."""

from collections.abc import Iterable

from . import errors
from .errors import GraphError


def select_names(
    table: Iterable[str],
    default: Iterable[str],
    select: tuple[str, ...] | None,
    others: frozenset[str] | None,
    kind: str,
    *,
    omitted: frozenset[str] = frozenset(),
) -> Iterable[str]:
    """The properties that `$select` names, by default the `default` ones.

    Args:
        table: all properties that are simulated.
        default: those without a `$select`.
        select: of the request.
        others: names in lower case of all properties of the type; None: they are not all known here.
        kind: the type, for errors.
        omitted: names in lower case that this item lacks and others of the type have.

    Raises:
        GraphError: Graph has no such property, or it is not simulated.
    """
    if select is None:
        return default
    known = {name.lower(): name for name in table}
    names = ["id"]
    for selected in select:
        wanted = selected.lower()
        if wanted in known:
            names.append(known[wanted])
        elif wanted in omitted:
            continue
        elif others is None or wanted == "*" or wanted.partition("/")[0] in others:
            raise GraphError(errors.NOT_SIMULATED, f"$select of {selected}")
        else:
            raise GraphError(errors.PROPERTY, selected, f"Microsoft.OutlookServices.{kind}")
    return dict.fromkeys(names)
