"""Queries that find rows a dataset must not have; made from its description.

Each reads the relation `checked` (with its `day`), and `other_<dataset>` for what it refers to.
"""

from collections.abc import Sequence

from sqlglot import exp

from marketing_assets.storage.datasets import Dataset, Reference


def repeated(dataset: Dataset) -> exp.Query:
    """Keys that two rows of a day share."""
    key = [exp.column(name) for name in ("day", *dataset.key)]
    return exp.select(*key, "count(*) as rows").from_("checked").group_by(*key).having("count(*) > 1")


def with_null(columns: Sequence[str]) -> exp.Query:
    """Rows with a null in one of `columns`."""
    return exp.select("*").from_("checked").where(exp.or_(*(exp.column(c).is_(exp.null()) for c in columns)))


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


def listed(query: exp.Query, files: dict[str, str]) -> str:
    """The query as text that anyone can run with DuckDB, each relation replaced by its file."""
    text = query.sql("duckdb")
    for relation, file in files.items():
        text = text.replace(f" {relation}", f" '{file}'")
    return text
