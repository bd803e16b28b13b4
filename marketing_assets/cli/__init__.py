"""The `marketing` command. Commands stand in `app`; what they do in the modules beside it."""

from marketing_assets.cli.app import main

__all__ = ["main"]
