"""The commands; `python -m deploy.local --help` lists them."""

import argparse
import json
import os
import sys

import httpx2

from deploy.local.processes import LocalError, say
from deploy.local.stack import LocalStack, local_dir
from deploy.local.system import System


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local",
        description=f"The whole system on this machine, in the background; its data and logs are in {local_dir()}.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start Kafka, MongoDB, the simulator and the services")
    down = commands.add_parser("down", help="stop them; the data stay")
    down.add_argument("--erase", action="store_true", help="delete the data of Kafka and MongoDB")
    commands.add_parser("status", help="where each process listens and logs, and what it says of itself")
    stack = commands.add_parser("stack", help="Kafka and MongoDB alone")
    stack.add_argument("do", choices=["fetch", "start", "stop", "status", "erase"])
    arguments = parser.parse_args()
    try:
        match arguments.command:
            case "up":
                return up()
            case "down":
                return down_again(erase=arguments.erase)
            case "status":
                return status()
            case _:
                return stack_alone(arguments.do)
    except LocalError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def up() -> int:
    """Start what does not run yet; all or nothing."""
    stack = LocalStack(local_dir())
    started = stack.start()
    system = _system(stack)
    try:
        system.start()
    except BaseException:
        for server in started:
            server.stop()
        raise
    _show(stack, system)
    say(
        f"the page is on {system['tracking'].url}, and on {system.for_browsers} is the simulator's control page"
    )
    say("it runs in the background: `make status` asks it how it is, `make down` stops it")
    return 0


def down_again(*, erase: bool) -> int:
    """Stop everything; 1 if something had to be killed."""
    stack = LocalStack(local_dir())
    went = _system(stack).stop()
    if erase:
        stack.erase()
    else:
        stack.stop()
    say(f"stopped; the data {'are gone' if erase else f'stay in {local_dir()}'}")
    return 0 if went else 1


def status() -> int:
    """Show how all are; 1 unless all are ready."""
    stack = LocalStack(local_dir())
    system = _system(stack)
    _show(stack, system)
    for process in system:
        if process.running:
            try:
                says = json.dumps(process.status(), indent=1)
            except (httpx2.HTTPError, ValueError) as error:
                says = f"no answer: {error}"
            say(f"\n{process.name} says {says}")
    return 1 if any(process.not_ready() for process in system) else 0


def stack_alone(do: str) -> int:
    """Kafka and MongoDB without the rest."""
    stack = LocalStack(local_dir())
    match do:
        case "fetch":  # before a run with time limits
            stack.fetch()
            return 0
        case "start":
            stack.start()
        case "stop":
            stack.stop()
        case "erase":
            stack.erase()
    for line in stack.status():
        _row(*line)
    return 0


def _system(stack: LocalStack) -> System:
    return System(stack, local_dir(), prefix=os.environ.get("TOPIC_PREFIX", ""), usual_ports=True, tied=False)


def _show(stack: LocalStack, system: System) -> None:
    for name, state, address in stack.status():
        _row(name, state, address)
    for process in system:
        pid = process.background.pid
        state = (
            "stopped" if pid is None else f"{'getting ready' if process.not_ready() else 'ready'}, pid {pid}"
        )
        _row(process.name, state, process.url, f"log {process.background.log}")


def _row(name: str, state: str, *rest: str) -> None:
    say(f"{name:<14}{state:<26}{'  '.join(rest)}")


if __name__ == "__main__":
    sys.exit(main())
