"""Every SQL file keeps to what both engines agree on, and the lint itself refuses what it should."""

from pathlib import Path

import pytest

import marketing_assets
from marketing_assets_tests.sql_lint import header, lint

SQL = Path(marketing_assets.__file__).parent / "sql"
FILES = sorted(SQL.rglob("*.sql"))

GOOD = """\
-- grain: one user
-- inputs: purchases (rows of the window,
--   one a purchase)
-- parameters: day (last day of the window)
--
-- Prose may say: anything.
with spend as (
    select
        user_id,
        sum(amount) filter (where amount > 0) as spend,
        arg_max(location, (amount, location)) as location
    from purchases
    where date_diff('day', day, cast($day as date)) < 90
    group by user_id
)

select
    cast(user_id as varchar) as user_id,
    cast(spend as decimal(14, 2)) as spend,
    cast(cast(spend as double) / 90 as double) as spend_a_day,
    cast(location || '!' as varchar) as "Location"
from spend
"""


def with_output(expression: str) -> str:
    """A file that is right but for one output expression."""
    return f"-- grain: one row\n-- inputs: rows\n-- parameters: none\nselect {expression} from rows\n"


def test_there_are_files_to_lint() -> None:
    assert FILES, f"no SQL files under {SQL}"


@pytest.mark.parametrize("path", FILES, ids=[path.relative_to(SQL).as_posix() for path in FILES])
def test_file_is_portable(path: Path) -> None:
    assert lint(path.read_text(encoding="utf-8")) == []


def test_good_sample_has_no_findings() -> None:
    assert lint(GOOD) == []


def test_header_paragraphs_join_their_lines() -> None:
    assert header(GOOD) == {
        "grain": "one user",
        "inputs": "purchases (rows of the window, one a purchase)",
        "parameters": "day (last day of the window)",
    }


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (GOOD.replace("-- grain: one user\n", ""), "no '-- grain: ...' line"),
        (GOOD.replace("inputs:", "reads:"), "no '-- inputs: ...' line"),
        (GOOD.replace("-- parameters: day (last day of the window)\n", ""), "no '-- parameters: ...' line"),
        (GOOD.replace("inputs: purchases", "inputs: sales"), "reads purchases, which its header"),
        (
            GOOD.replace("parameters: day (last day", "parameters: until (last"),
            "binds $day, which its header",
        ),
        (GOOD.replace("cast($day as date)", "day"), "does not say 'parameters: none'"),
        ("\n" + GOOD, "no '-- grain: ...' line"),
    ],
)
def test_header_is_held_to_the_statement(text: str, finding: str) -> None:
    assert any(finding in found for found in lint(text)), lint(text)


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("", "has 0 statements"),
        ("-- grain: only a comment\n", "has 0 statements"),
        (GOOD + ";\nselect 1", "has 2 statements"),
        ("select from where (", "does not parse"),
        ("create table t as select 1", "not a query"),
        ("delete from users", "not a query"),
        (GOOD.replace("with spend as", "WITH spend as"), "WITH is not in lower case"),
        (GOOD.replace("sum(amount)", "Sum(amount)"), "Sum is not in lower case"),
        (GOOD.replace("from purchases", "from 'purchases.parquet'"), "a path or qualified name"),
        (GOOD.replace("from purchases", 'from "lake/purchases"'), "a path or qualified name"),
        (GOOD.replace("from purchases", "from lake.purchases"), "a path or qualified name"),
        (GOOD.replace("from purchases", "from read_parquet('purchases/*')"), "a table function"),
        (GOOD.replace("from purchases", "from read_csv('purchases.csv')"), "a table function"),
        (GOOD.replace("date_diff('day'", "date_diff('hour'"), "another unit than 'day'"),
        (GOOD.replace('as "Location"', ""), "output column is not"),
    ],
)
def test_bad_statement_is_refused(text: str, finding: str) -> None:
    assert any(finding in found for found in lint(text)), lint(text)


@pytest.mark.parametrize(
    ("expression", "finding"),
    [
        ("*", "selects * in its output"),
        ("rows.*", "selects * in its output"),
        ("user_id", "output column is not"),
        ("user_id as id", "output column is not"),
        ("cast(user_id as varchar) || '' as id", "output column is not"),
        ("cast(list(location order by amount) as varchar) as a", "is not known to be equal"),
        ("cast(hash(user_id) as bigint) as a", "is not known to be equal"),
        ("cast(timezone('UTC', occurred_at) as timestamp) as a", "timezone(), which is not known"),
        ("cast(occurred_at at time zone 'UTC' as timestamp) as a", "not equal on every engine"),
        ("cast(quantile_cont(amount, 0.5) as double) as a", "is not known to be equal"),
        ("cast(median(amount) as double) as a", "median(), which is not known"),
        ("cast(avg(amount) as double) as a", "avg(), which is not known"),
        ("cast(no_such_function(amount) as double) as a", "no_such_function(), which is not known"),
        ("cast(regexp_replace(user_id, 'x', '') as varchar) as a", "without 'g'"),
        ("cast(random() as double) as a", "is not known to be equal"),
        ("cast(now() as timestamp with time zone) as a", "is not known to be equal"),
        ("cast(user_id as uuid) as a", "casts to uuid"),
        ("cast(amount as ubigint) as a", "casts to ubigint"),
        ("cast(cast(amount as uinteger) as integer) as a", "casts to uinteger"),
        ("cast(amount as float) as a", "which not every engine has"),
        ("cast(location as varchar[]) as a", "which not every engine has"),
        ("cast(spend / purchases as decimal(14, 2)) as a", "divides without a cast to double"),
        ("cast(cast(day as date) - cast(first_day as date) as integer) as a", "use date_diff('day', ...)"),
    ],
)
def test_bad_expression_is_refused(expression: str, finding: str) -> None:
    found = lint(with_output(expression))
    assert any(finding in one for one in found), found


@pytest.mark.parametrize(
    "expression",
    [
        "cast(amount as decimal(14, 2)) as amount",
        "try_cast(amount as decimal(14, 2)) as amount",
        "cast(count(distinct user_id) filter (where amount > 0) as bigint) as users",
        "cast(bit_count(bit_or(cast(1 as bigint) << age)) as integer) as active_days",
        "cast(substr(md5(concat(campaign_id, ':', user_id)), 1, 8) as varchar) as digits",
        "cast(row_number() over (partition by user_id order by amount desc) as integer) as place",
        "cast(regexp_replace(user_id, 'x', '', 'g') as varchar) as user_id",
        "cast((spend_cents + 50) // 100 as bigint) as spend",
        "cast(case when isnan(score) then null else greatest(score, 0) end as double) as score",
    ],
)
def test_portable_expression_is_accepted(expression: str) -> None:
    assert lint(with_output(expression)) == []
