"""What `make bench` and `make bench-small` run: nights as Dagster runs them, and what they are compared with.

Each part measures one thing at one size and returns a frozen dataclass; `report.py` renders them. Not
shipped with the package.
"""
