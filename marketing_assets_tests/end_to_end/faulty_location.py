"""The product's code location, with the fault of TEST_POINT in every process that loads it."""

import os
from pathlib import Path

from marketing_assets.definitions import defs
from marketing_assets_tests.end_to_end import killer

if "TEST_POINT" in os.environ:
    killer.killed.once = Path(os.environ["TEST_KILLED"])
    killer.install(os.environ["TEST_POINT"])

__all__ = ["defs"]
