"""What a file of marketing_assets/sql may say, so that DuckDB and Spark give equal rows for it.

The allow-lists hold what is known to be equal on both engines. Adding to them is a decision: compare the
two engines first. The files themselves are linted by test_sql_lint.py.
"""

import re
from collections.abc import Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError

# By sqlglot's names, which for some differ from what one writes: arg_min(), bit_or(), date_diff(),
# regexp_matches(), strpos(), bool_and(), isnan(), sha256().
ALLOWED_FUNCTIONS = frozenset(
    {
        "abs",
        "and",
        "arg_max",
        "arg_min",
        "bit_count",
        "bitwise_or_agg",
        "case",
        "cast",
        "ceil",
        "chr",
        "coalesce",
        "concat",
        "count",
        "datediff",
        "dense_rank",
        "encode",
        "exists",
        "extract",
        "floor",
        "greatest",
        "if",
        "is_nan",
        "lag",
        "lead",
        "least",
        "length",
        "logical_and",
        "logical_or",
        "lower",
        "max",
        "md5",
        "min",
        "nullif",
        "or",
        "rank",
        "regexp_like",
        "regexp_replace",
        "replace",
        "round",
        "row_number",
        "sha2",
        "str_position",
        "substring",
        "sum",
        "trim",
        "try_cast",
        "unhex",
        "upper",
    }
)

ALLOWED_TYPES = frozenset(
    {
        exp.DType.BIGINT,
        exp.DType.BOOLEAN,
        exp.DType.DATE,
        exp.DType.DECIMAL,
        exp.DType.DOUBLE,
        exp.DType.INT,
        exp.DType.TEXT,
        exp.DType.TIMESTAMP,
        exp.DType.TIMESTAMPNTZ,
        exp.DType.TIMESTAMPTZ,
    }
)

HEADER_KEYS = ("grain", "inputs", "parameters")
QUOTED = frozenset({"STRING", "IDENTIFIER", "NUMBER"})
RELATION_NAME = re.compile(r"[a-z][a-z0-9_]*")


def lint(text: str) -> list[str]:
    """Everything in the text of one SQL file that is not allowed; empty where all is well."""
    try:
        statements = [one for one in sqlglot.parse(text, dialect="duckdb") if one is not None]
    except SqlglotError as error:
        return [f"does not parse: {error}"]
    if len(statements) != 1:
        return [f"has {len(statements)} statements, not one"]
    statement = statements[0]
    if not isinstance(statement, exp.Query):
        return [f"is a {type(statement).__name__}, not a query"]
    return [
        *_header_findings(text, statement),
        *_case_findings(text),
        *_function_findings(statement),
        *_relation_findings(statement),
        *_arithmetic_findings(statement),
        *_type_findings(statement),
        *_output_findings(statement),
        *_spark_findings(text),
    ]


def header(text: str) -> dict[str, str]:
    """The paragraphs of the comment that opens the file, by their key; lines after them are prose."""
    found: dict[str, str] = {}
    key = ""
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        content = line.removeprefix("--")
        begins = re.match(r" (\w+): +(\S.*)", content)
        if begins:
            key = begins[1]
            found[key] = begins[2]
        elif key and content.startswith("  "):
            found[key] += " " + content.strip()
        else:
            key = ""
    return found


def _header_findings(text: str, statement: exp.Query) -> Iterator[str]:
    paragraphs = header(text)
    for key in HEADER_KEYS:
        if key not in paragraphs:
            yield f"has no '-- {key}: ...' line in the comment that opens it"
    inputs = set(re.findall(r"\w+", paragraphs.get("inputs", "")))
    for relation in sorted(_relations(statement) - inputs):
        yield f"reads {relation}, which its header does not name under inputs"
    said = paragraphs.get("parameters", "")
    parameters = {placeholder.name for placeholder in statement.find_all(exp.Placeholder)}
    for parameter in sorted(parameters - set(re.findall(r"\w+", said))):
        yield f"binds ${parameter}, which its header does not name under parameters"
    if said and not parameters and said != "none":
        yield "binds no parameter, but its header does not say 'parameters: none'"


def _relations(statement: exp.Query) -> set[str]:
    own = {cte.alias for cte in statement.find_all(exp.CTE)}
    return {table.name for table in statement.find_all(exp.Table) if table.name} - own


def _case_findings(text: str) -> Iterator[str]:
    for token in sqlglot.tokenize(text, read="duckdb"):
        written = text[token.start : token.end + 1]
        if token.token_type.name not in QUOTED and written != written.lower():
            yield f"line {token.line}: {written} is not in lower case"


def _function_findings(statement: exp.Query) -> Iterator[str]:
    for function in statement.find_all(exp.Func):
        name = _function_name(function)
        if name not in ALLOWED_FUNCTIONS:
            yield f"uses {name}(), which is not known to be equal on every engine"
        elif isinstance(function, exp.DateDiff) and function.text("unit").lower() != "day":
            yield "uses date_diff() with another unit than 'day'"
        elif isinstance(function, exp.RegexpReplace) and function.text("modifiers") != "g":
            yield "uses regexp_replace() without 'g': Spark replaces every match, DuckDB the first"


def _function_name(function: exp.Func) -> str:
    name = function.name if isinstance(function, exp.Anonymous) else function.sql_name()
    return name.lower()


def _relation_findings(statement: exp.Query) -> Iterator[str]:
    for table in statement.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            yield f"reads {table.sql(dialect='duckdb')}: a table function, not a relation"
        elif table.args.get("db") or not RELATION_NAME.fullmatch(table.name):
            yield f"reads {table.sql(dialect='duckdb')}: a path or qualified name, not a relation"


def _arithmetic_findings(statement: exp.Query) -> Iterator[str]:
    for division in statement.find_all(exp.Div):
        if not any(_casts_to(cast, exp.DType.DOUBLE) for cast in division.find_all(exp.Cast)):
            yield f"divides without a cast to double: {division.sql(dialect='duckdb')}"
    for difference in statement.find_all(exp.Sub):
        if any(_casts_to(side.unnest(), exp.DType.DATE) for side in (difference.this, difference.expression)):
            yield f"subtracts dates, use date_diff('day', ...): {difference.sql(dialect='duckdb')}"
    if statement.find(exp.AtTimeZone):
        yield "uses 'at time zone', which is not equal on every engine: hand over instants"


def _casts_to(node: object, kind: exp.DType) -> bool:
    return isinstance(node, exp.Cast) and node.to.this == kind


def _type_findings(statement: exp.Query) -> Iterator[str]:
    for cast in statement.find_all(exp.Cast):
        if cast.to.this not in ALLOWED_TYPES:
            yield f"casts to {cast.to.sql(dialect='duckdb').lower()}, which not every engine has"


def _output_findings(statement: exp.Query) -> Iterator[str]:
    for select in _outermost_selects(statement):
        for column in select.expressions:
            if isinstance(column, exp.Star) or column.is_star:
                yield "selects * in its output: name and cast each column"
            elif not (isinstance(column, exp.Alias) and isinstance(column.this, exp.Cast)):
                yield f"output column is not 'cast(... as type) as name': {column.sql(dialect='duckdb')}"


def _outermost_selects(query: exp.Query) -> Iterator[exp.Select]:
    if isinstance(query, exp.SetOperation):
        yield from _outermost_selects(query.left)
        yield from _outermost_selects(query.right)
    elif isinstance(query, exp.Subquery):
        inner = query.unnest()
        if isinstance(inner, exp.Query):
            yield from _outermost_selects(inner)
    elif isinstance(query, exp.Select):
        yield query


def _spark_findings(text: str) -> Iterator[str]:
    try:
        sqlglot.transpile(text, read="duckdb", write="spark", unsupported_level=ErrorLevel.RAISE)
    except SqlglotError as error:
        yield f"cannot be written for Spark: {error}"
