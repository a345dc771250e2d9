"""The commands; `python -m deploy.local --help` lists them."""

import argparse
import sys

from deploy.local.processes import LocalError, say
from deploy.local.stack import LocalStack, local_dir


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local",
        description=f"The system on this machine, its data and logs in {local_dir()}.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    stack = commands.add_parser("stack", help="Kafka and MongoDB alone")
    stack.add_argument("do", choices=["start", "stop", "status", "erase"])
    arguments = parser.parse_args()
    try:
        return _stack(arguments.do)
    except LocalError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _stack(do: str) -> int:
    stack = LocalStack(local_dir())
    if do == "start":
        stack.start()
    elif do == "stop":
        stack.stop()
    elif do == "erase":
        stack.erase()
    for name, state, address in stack.status():
        say(f"{name:<12}{state:<22}{address}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
