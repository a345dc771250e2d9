"""Raises each class of MongoDB's errors at each command of each operation of a store.

The operations are found by themselves: all public asynchronous methods of the classes of a store's package. A
method without a case fails the test of its store.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Awaitable, Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Generic, TypeVar

from pymongo import MongoClient

from shared.errors import RetryableError
from shared.mongodb import DatabaseFaultError, DuplicateDocumentError, WriteRefusedError

S = TypeVar("S")
Operation = Callable[[S], Awaitable[object]]

WRITES = ("insert", "update", "delete", "findAndModify", "createIndexes", "commitTransaction")
COMMANDS = (*WRITES, "find", "aggregate", "getMore", "ping")
MOST_COMMANDS = 20
"""Of one operation."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that MongoDB raises.

    Attributes:
        data: of the fail point `failCommand`.
        error: with which the operation must end.
        commands: that fail.
        unsets_primary: the driver looks for the primary again, which takes half a second.
    """

    name: str
    data: Mapping[str, Any]
    error: type[Exception]
    commands: tuple[str, ...] = COMMANDS
    unsets_primary: bool = False

    def __str__(self) -> str:
        return self.name


def _code(name: str, code: int, error: type[Exception], commands: tuple[str, ...] = COMMANDS) -> Fault:
    """An error instead of the execution."""
    return Fault(name, {"errorCode": code}, error, commands)


def _after_write(name: str, code: int, *, unsets_primary: bool = False) -> Fault:
    """An error after the execution: the write is made, and the majority has not acknowledged it."""
    data = {"writeConcernError": {"code": code, "errmsg": name}}
    return Fault(f"{name} after the write", data, RetryableError, WRITES, unsets_primary)


REPRESENTATIVES = (
    _code("ExceededTimeLimit", 262, RetryableError),
    _after_write("WriteConcernTimeout", 64),
    _code("BSONObjectTooLarge", 10334, WriteRefusedError, WRITES),
    Fault(
        "DuplicateKey",
        {"errorCode": 11000, "errorExtraInfo": {"keyPattern": {"_id": 1}, "keyValue": {"_id": "i"}}},
        DuplicateDocumentError,
        WRITES,
    ),
    _code("Unauthorized", 13, DatabaseFaultError),
)
"""One of each class, before and after the execution."""
FAULTS = (
    *REPRESENTATIVES,
    _code("OutOfDiskSpace", 14031, RetryableError),
    _code("WriteConflict", 112, RetryableError),
    _code("NotWritablePrimary", 10107, RetryableError),
    _code("InterruptedDueToReplStateChange", 11602, RetryableError),
    _after_write("UnsatisfiableWriteConcern", 100),
    _after_write("InterruptedDueToReplStateChange", 11602, unsets_primary=True),
    Fault("InterruptedAtShutdown", {"errorCode": 11600}, RetryableError, unsets_primary=True),
    Fault("closed connection", {"closeConnection": True}, RetryableError, unsets_primary=True),
)


def quick_to_find_its_primary(mongodb_uri: str) -> str:
    """The address for a client that looks for the primary every half a second."""
    return f"{mongodb_uri}&serverMonitoringMode=poll&heartbeatFrequencyMS=500"


@contextmanager
def failing(
    client: MongoClient[dict[str, Any]], app_name: str, fault: Fault, skip: int = 0
) -> Iterator[list[int]]:
    """MongoDB raises the fault at every command of this client but the first ones.

    Yields:
        A list that has how often it was raised, after the block.
    """
    raised: list[int] = []
    before = _set_fail_point(client, mode="off")
    data = {**fault.data, "failCommands": list(fault.commands), "appName": app_name}
    _set_fail_point(client, mode={"skip": skip}, data=data)
    try:
        yield raised
    finally:
        raised.append(_set_fail_point(client, mode="off") - before)


def _set_fail_point(client: MongoClient[dict[str, Any]], **options: Any) -> int:
    """Returns how often it has raised an error since MongoDB's start."""
    return int(client.admin.command({"configureFailPoint": "failCommand", **options})["count"])


async def check_store(
    store: S,
    mongodb_uri: str,
    app_name: str,
    fault: Fault,
    cases: Mapping[str, Operation[S]],
    *,
    expect_duplicates: AbstractSet[str] = frozenset(),
    most_commands: int = MOST_COMMANDS,
) -> None:
    """Raises the fault at the first command of each operation, then from its second one on, and so forth.

    The operation must end with the fault's error each time, and succeed without the fault.

    Args:
        store: with data such that the operations send all their commands.
        mongodb_uri: of MongoDB.
        app_name: of the store.
        fault: the fault.
        cases: name of each operation -> its call, which may be repeated.
        expect_duplicates: the operations to which another process's document is an answer.
        most_commands: of an operation.
    """
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        for name, operation in cases.items():
            for skip in range(most_commands):
                error: Exception | None = None
                with failing(client, app_name, fault, skip) as raised:
                    try:
                        await operation(store)
                    except Exception as caught:  # noqa: BLE001  # compared below
                        error = caught
                if not raised[0]:
                    assert error is None, f"{name}: {error!r} without a fault"
                    assert skip or fault.commands != COMMANDS, f"{name} sends no command"
                    break
                if error is None and name in expect_duplicates:
                    continue
                assert type(error) is fault.error, (
                    f"{name}: {error!r} at command {skip + 1}, raised {raised[0]} times"
                )
                await operation(store)


@dataclass(frozen=True)
class StoreCases(Generic[S]):
    """The operations of one service's store.

    Attributes:
        app_name: of the store.
        operations: name -> call; see `check_store`.
        expect_duplicates: see `check_store`.
    """

    app_name: str
    operations: Mapping[str, Operation[S]]
    expect_duplicates: AbstractSet[str]

    async def check(self, store: S, mongodb_uri: str, fault: Fault, most_commands: int, *names: str) -> None:
        """Checks the operations of these names, or all, with a fault; see `check_store`."""
        await check_store(
            store,
            mongodb_uri,
            self.app_name,
            fault,
            {name: self.operations[name] for name in names} or self.operations,
            expect_duplicates=self.expect_duplicates,
            most_commands=most_commands,
        )


# -- the operations of a store ----------------------------------------------------------------------


def operations(package: ModuleType) -> set[str]:
    """`Class.method` of all public asynchronous methods of a store's package."""
    modules = [importlib.import_module(each.name) for each in _modules(package)]
    classes = {
        each
        for module in (package, *modules)
        for each in vars(module).values()
        if inspect.isclass(each) and each.__module__.startswith(package.__name__)
    }
    return {
        f"{each.__name__}.{name}"
        for each in classes
        for name, method in inspect.getmembers(each, inspect.isfunction)
        if not name.startswith("_") and _is_asynchronous(method)
    }


def _modules(package: ModuleType) -> Iterator[pkgutil.ModuleInfo]:
    return pkgutil.iter_modules(package.__path__, f"{package.__name__}.")


def _is_asynchronous(method: Callable[..., Any]) -> bool:
    method = inspect.unwrap(method)
    return inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)
