"""The code location that Dagster loads: `build_definitions` of the settings, once; builds nothing itself.

The definitions are made when Dagster loads the location, not when this module is imported.
"""

import dagster as dg

from marketing_assets.orchestration.build import build_definitions
from marketing_assets.settings import load_settings


@dg.definitions
def defs() -> dg.Definitions:
    """Everything Dagster shows and runs."""
    return build_definitions(load_settings())
