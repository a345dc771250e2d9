"""What aiokafka 0.14 does wrong, and what is put in its place.

* Of a closed connection it expects only OSError, but uvloop raises RuntimeError. The task that refreshes the
  metadata then ends, and the client waits for ever. Here it is a `KafkaConnectionError`.
* A leader that answers that a message has not reached its replicas in time stays the leader for it. Here the
  client requests metadata anew.
* A broker whose disk is full answers *unknown error*, and then ends. aiokafka takes that for fatal.
  Here it tries again, like every other client.
* A connection to a broker that hangs opens, and then waits for the broker's first answer as long as for that
  of any request. Here it gives up sooner: while the others elect a leader, several connections may be tried.
* JoinGroup waits for other members, but no longer than any request. Here it waits as long as the group does.
* `stop` of a consumer raises CancelledError, and leaves connections open, when one of its tasks has not run
  yet or waits before its next try. Here such tasks run once, and their ends are awaited, whatever they are.
* A commit that nobody waits for any more fails in a task of its own, and asyncio logs its error as never
  retrieved. Here it is retrieved; aiokafka logs it itself.
* Its metadata is that of one broker, any one: see `leaders.py`.
"""

# ruff: noqa: SLF001  # a patch changes what is private

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import KafkaConnectionError, RequestTimedOutError, UnknownError
from aiokafka.protocol.group import JoinGroupRequest

from .leaders import install as install_metadata_of_the_majority

CONNECT_TIMEOUT_SECONDS = 3.0
"""For a connection itself, and for each answer until requests can be sent."""
JOIN_TIMEOUT_SECONDS = 65.0
"""Longer than the group waits for its members (`REBALANCE_TIMEOUT`)."""


def patch_aiokafka() -> None:
    """Applies all patches, once for a process."""
    if hasattr(AIOKafkaConnection.send, "__wrapped__"):
        return
    AIOKafkaConnection.connect = _with_connect_timeout(AIOKafkaConnection.connect)
    AIOKafkaConnection.send = _with_join_timeout(_with_connection_error(AIOKafkaConnection.send))
    AIOKafkaConnection._send_sasl_token = _with_connection_error(AIOKafkaConnection._send_sasl_token)
    AIOKafkaConsumer.stop = _after_the_first_steps(AIOKafkaConsumer.stop)
    GroupCoordinator._do_commit_offsets = _in_an_observed_task(GroupCoordinator._do_commit_offsets)
    Fetcher.close = _after_its_requests(Fetcher.close)
    RequestTimedOutError.invalid_metadata = True
    UnknownError.retriable = True
    install_metadata_of_the_majority()


def _with_connection_error(send: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(send)
    def send_or_close(connection: AIOKafkaConnection, *arguments: Any, **more: Any) -> Any:
        try:
            return send(connection, *arguments, **more)
        except RuntimeError as closed:
            connection.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError("the connection was closed") from closed

    return send_or_close


def _with_connect_timeout(connect: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(connect)
    async def connect_in_time(connection: AIOKafkaConnection) -> Any:
        usual = connection._request_timeout
        connection._request_timeout = min(usual, CONNECT_TIMEOUT_SECONDS)
        try:
            return await connect(connection)
        finally:
            connection._request_timeout = usual

    return connect_in_time


def _with_join_timeout(send: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(send)
    def send_with_timeout(connection: AIOKafkaConnection, request: Any, *arguments: Any, **more: Any) -> Any:
        usual = connection._request_timeout
        if isinstance(request, JoinGroupRequest):
            connection._request_timeout = JOIN_TIMEOUT_SECONDS
        try:
            return send(connection, request, *arguments, **more)  # it reads the time-out before it returns
        finally:
            connection._request_timeout = usual

    return send_with_timeout


def _after_the_first_steps(stop: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(stop)
    async def stop_later(consumer: AIOKafkaConsumer) -> None:
        # A task that is cancelled before its first step raises CancelledError where it is awaited.
        await asyncio.sleep(0)
        await stop(consumer)

    return stop_later


def _after_its_requests(close: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(close)
    async def close_later(fetcher: Fetcher) -> None:
        tasks = {fetcher._fetch_task, *fetcher._pending_tasks}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        fetcher._pending_tasks.clear()
        await close(fetcher)

    return close_later


def _in_an_observed_task(commit: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(commit)
    def commit_in_task(*arguments: Any) -> "asyncio.Task[None]":
        task = asyncio.create_task(commit(*arguments))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    return commit_in_task
