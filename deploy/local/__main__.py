"""The commands; `python -m deploy.local --help` lists them."""

import argparse
import json
import os
import sys

import httpx2

from deploy.local.processes import LocalError, local_dir, print_progress
from deploy.local.stack import LocalStack
from deploy.local.system import System


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local",
        description=f"The whole system on this machine, in the background. Its data are in {local_dir()}.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start Kafka, MongoDB, the simulator and the services")
    down = commands.add_parser("down", help="stop them; the data stay")
    down.add_argument("--erase", action="store_true", help="delete the data of Kafka and MongoDB")
    commands.add_parser("status", help="print state, address, log and counts of each process")
    stack = commands.add_parser("stack", help="Kafka and MongoDB alone")
    stack.add_argument("action", choices=["fetch", "start", "stop", "status", "erase"])
    arguments = parser.parse_args()
    try:
        match arguments.command:
            case "up":
                return start_all()
            case "down":
                return stop_all(erase=arguments.erase)
            case "status":
                return print_status()
            case _:
                return control_stack(arguments.action)
    except LocalError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def start_all() -> int:
    """Start all processes that do not run; if one does not start, stop the others again."""
    stack = LocalStack(local_dir())
    started = stack.start()
    system = _system(stack)
    try:
        system.start()
    except BaseException:
        for server in started:
            server.stop()
        raise
    _print_table(stack, system)
    print_progress(
        f"the page is on {system['tracking'].url}, the simulator's control page on {system.for_browsers}"
    )
    print_progress("the system runs in the background: `make status` shows its state, `make down` stops it")
    return 0


def stop_all(*, erase: bool) -> int:
    """Stop everything; 1 if a process had to be killed."""
    stack = LocalStack(local_dir())
    drained = _system(stack).stop()
    if erase:
        stack.erase()
    else:
        stack.stop()
    print_progress(f"stopped; the data {'are deleted' if erase else f'stay in {local_dir()}'}")
    return 0 if drained else 1


def print_status() -> int:
    """Print the state of all processes; 1 unless all are ready."""
    stack = LocalStack(local_dir())
    system = _system(stack)
    _print_table(stack, system)
    for process in system:
        if process.running:
            try:
                counts = json.dumps(process.status(), indent=1)
            except (httpx2.HTTPError, ValueError) as error:
                counts = f"no answer: {error}"
            print_progress(f"\nstatus of {process.name}: {counts}")
    return 1 if any(process.not_ready() for process in system) else 0


def control_stack(action: str) -> int:
    """Control Kafka and MongoDB without the other processes."""
    stack = LocalStack(local_dir())
    match action:
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
        _print_row(*line)
    return 0


def _system(stack: LocalStack) -> System:
    return System(stack, local_dir(), prefix=os.environ.get("TOPIC_PREFIX", ""), usual_ports=True, tied=False)


def _print_table(stack: LocalStack, system: System) -> None:
    for name, state, address in stack.status():
        _print_row(name, state, address)
    for process in system:
        pid = process.background.pid
        readiness = "getting ready" if process.not_ready() else "ready"
        state = "stopped" if pid is None else f"{readiness}, pid {pid}"
        _print_row(process.name, state, process.url, f"log {process.background.log}")


def _print_row(name: str, state: str, *rest: str) -> None:
    print_progress(f"{name:<14}{state:<26}{'  '.join(rest)}")


if __name__ == "__main__":
    sys.exit(main())
