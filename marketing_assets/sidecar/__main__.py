"""`python -m marketing_assets.sidecar`: one worker of the sidecar."""

import argparse
import sys

from marketing_assets.errors import MarketingError
from marketing_assets.settings import load_settings


def main() -> int:
    """Serve until the process is asked to end; an error that keeps it from starting is said in two lines."""
    parser = argparse.ArgumentParser(prog="marketing_assets.sidecar", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on")
    arguments = parser.parse_args()
    from marketing_assets.sidecar.server import serve

    try:
        serve(load_settings(), arguments.host, arguments.port)
    except MarketingError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
