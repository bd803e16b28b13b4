"""Queries that find rows a dataset must not have; made from its description.

Each reads the relation `checked` (with its `day`), and `other_<dataset>` for what it refers to.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlglot import exp

from marketing_assets.storage.datasets import Dataset, Reference


def columns() -> exp.Expr:
    """The columns of the file and their types, also `day`, which its path says."""
    return exp.Describe(this=exp.select("*").from_("checked"))


def rows_and_keys(dataset: Dataset) -> exp.Query:
    """Rows and distinct hashes of their keys, by which one pass over numbers shows that no key repeats."""
    key = exp.func("hash", *(exp.column(name) for name in ("day", *dataset.key)), dialect="duckdb")
    return exp.select(
        "count(*) as rows", exp.alias_(exp.Count(this=exp.Distinct(expressions=[key])), "keys")
    ).from_("checked")


def out_of_range(dataset: Dataset) -> exp.Query:
    """Rows with a value that its column does not allow."""
    wrong: list[exp.Expr] = []
    for column in dataset.columns:
        value = exp.column(column.name)
        if column.at_least is not None:
            wrong.append(value < column.at_least)
        if column.at_most is not None:
            wrong.append(value > column.at_most)
        if column.one_of:
            wrong.append(exp.not_(value.isin(*column.one_of)))
    return exp.select("*").from_("checked").where(exp.or_(*wrong) if wrong else exp.false())


def repeated(dataset: Dataset) -> exp.Query:
    """Keys that two rows of a day share."""
    key = [exp.column(name) for name in ("day", *dataset.key)]
    return exp.select(*key, "count(*) as rows").from_("checked").group_by(*key).having("count(*) > 1")


def with_null(dataset: Dataset) -> exp.Query:
    """Rows with a null where none belongs."""
    nulls = [exp.column(c.name).is_(exp.null()) for c in dataset.columns if not c.nullable]
    return exp.select("*").from_("checked").where(exp.or_(*nulls))


def lost(reference: Reference, key: Sequence[str], exempt: str | None = None) -> exp.Query:
    """Rows that refer to something that the other dataset lacks, apart from those with a key in `exempt`."""
    same = exp.and_(*(exp.column(c, "c").eq(exp.column(c, "o")) for c in ("day", *reference.columns)))
    there = exp.select("1").from_(exp.to_table(f"other_{reference.dataset}").as_("o")).where(same)
    query = exp.select("c.*").from_(exp.to_table("checked").as_("c")).where(exp.not_(exp.Exists(this=there)))
    if exempt is None:
        return query
    known = exp.and_(*(exp.column(name, "c").eq(exp.column(name, "e")) for name in key))
    stands = exp.select("1").from_(exp.to_table(exempt).as_("e")).where(known)
    return query.where(exp.not_(exp.Exists(this=stands)))


def counted(query: exp.Query) -> exp.Query:
    """How many rows `query` finds, as `found`, and the newest day that has one, as `day`."""
    return exp.select("count(*) as found", "max(day) as day").from_(query.copy().subquery("offending"))


def listed(query: exp.Expr, files: Mapping[str, Path]) -> str:
    """The query as text that anyone can run with `marketing sql`, each relation replaced by its file."""
    text = query.sql("duckdb")
    for relation, file in files.items():
        text = text.replace(f" {relation}", f" {exp.Literal.string(str(file)).sql('duckdb')}")
    return text
