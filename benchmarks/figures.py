"""The figures of a part whose result is its own: every number that it says, by name.

`publishing` and `serving` measure the database by themselves; the report keeps their numbers, and
`bounds.py` knows which of them have a limit.
"""

from dataclasses import fields

Figures = dict[str, float]


def figures_of(result: object) -> Figures:
    """The numbers among the fields and properties of a frozen dataclass."""
    kind = type(result)
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    names += [name for name, value in vars(kind).items() if isinstance(value, property)]
    found = {name: getattr(result, name) for name in names}
    return {name: value for name, value in found.items() if isinstance(value, int | float)}
