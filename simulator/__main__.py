"""`python -m simulator [--listen HOST:PORT] [--dir FOLDER] [--record FOLDER]` starts a simulator."""

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

from .server import run
from .settings import Address, from_environment


def main() -> int:
    """Start with the settings of the environment; options of the command line replace them."""
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    parser.add_argument("--listen", metavar="HOST:PORT", help="listening address (SIMULATOR_LISTEN)")
    parser.add_argument("--dir", type=Path, help="folder of the CA and keys (SIMULATOR_DIR)")
    parser.add_argument("--record", type=Path, help="folder of recorded responses (SIMULATOR_RECORD)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        settings = from_environment()
        listen = Address.parse(args.listen) if args.listen else settings.listen
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    run(
        replace(
            settings,
            listen=listen,
            folder=args.dir or settings.folder,
            record=args.record or settings.record,
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
