"""Marketing that runs itself: nightly patterns, campaigns and targets from a card app's transactions."""

__version__ = "0.1.0"
