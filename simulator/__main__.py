"""`python -m simulator [--port N] [--dir FOLDER] [--record FOLDER]`: start a simulator."""

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

from .server import run
from .settings import from_environment


def main() -> int:
    """Start with the environment's settings, changed by the command line's."""
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    parser.add_argument("--port", type=int, help="port to listen on (SIMULATOR_PORT, 18443)")
    parser.add_argument("--dir", type=Path, help="folder of CA and keys (SIMULATOR_DIR)")
    parser.add_argument("--record", type=Path, help="folder for every Graph answer")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        settings = from_environment()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    settings = replace(
        settings,
        port=asked.port or settings.port,
        folder=asked.dir or settings.folder,
        record=asked.record or settings.record,
    )
    run(settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
