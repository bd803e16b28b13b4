"""The bulk insert of a night's targets: staged, cut down to those that are new, inserted in index order.

What many targets share (campaign, version, arm, dates, what the offer is filled in with) is staged once, as
terms; of a target itself only the user and the reason travel. Rows arrive sorted by user, and an insert that
hashes the few terms keeps that order, so that the primary key grows page by page and not at random places. A
foreign key would look every row's campaign up on its own; here the terms are checked instead, all at once.
"""

from pathlib import Path

from sqlalchemy import Connection, text
from sqlglot import exp

from marketing_assets.engine.base import Engine
from marketing_assets.errors import DatabaseError
from marketing_assets.storage.copying import copy_file

_TERM = (
    "campaign_id",
    "campaign_version",
    "arm",
    "location",
    "category",
    "assigned_on",
    "valid_from",
    "valid_until",
)
_STAGE = (
    text(
        "create temporary table staged_terms ("
        " term bigint primary key, campaign_id text, campaign_version integer, arm text, location text,"
        " category text, assigned_on date, valid_from timestamptz, valid_until timestamptz"
        ") on commit drop"
    ),
    text(
        "create temporary table staged_targets ("
        ' term bigint, user_id text collate "C", reason text'
        ") on commit drop"
    ),
)
_STRANGERS = text(
    "select distinct s.campaign_id from staged_terms s where not exists"
    " (select from marketing.marketing_campaigns c where c.campaign_id = s.campaign_id) order by 1 limit 3"
)
_HOLD_CAMPAIGNS = text(
    "select from marketing.marketing_campaigns where campaign_id in (select campaign_id from staged_terms)"
    " for key share"
)
_FORGET_KNOWN = text(
    "delete from staged_targets s using staged_terms e, marketing.campaign_targets t"
    " where e.term = s.term and t.user_id = s.user_id and t.campaign_id = e.campaign_id"
)
_INSERT = text(
    "insert into marketing.campaign_targets (campaign_id, campaign_version, user_id, arm, reason,"
    " context, assigned_on, valid_from, valid_until, created_at)"
    " select e.campaign_id, e.campaign_version, s.user_id, e.arm, cast(s.reason as json), e.context,"
    " e.assigned_on, e.valid_from, e.valid_until, :at"
    " from staged_targets s join (select *,"
    " jsonb_strip_nulls(jsonb_build_object('location', location, 'category', category)) as context"
    " from staged_terms offset 0) e on e.term = s.term"
)


def export_targets(engine: Engine, relation: str, terms_file: Path, targets_file: Path) -> int:
    """Write the rows of `relation` (columns of `CAMPAIGN_TARGETS`) to two files; returns the targets."""
    distinct = exp.select(*_TERM).distinct().from_(relation)
    number = exp.Window(this=exp.RowNumber(), order=exp.Order(expressions=[exp.column(n) for n in _TERM]))
    engine.create(
        "target_terms", exp.select(exp.alias_(number, "term"), *_TERM).from_(distinct.subquery("shared"))
    )
    engine.write_csv(exp.select("term", *_TERM).from_("target_terms"), terms_file)
    same = exp.and_(*(exp.NullSafeEQ(this=exp.column(n, "e"), expression=exp.column(n, "t")) for n in _TERM))
    rows = (
        exp.select("e.term", "t.user_id", "t.reason")
        .from_(exp.to_table(relation).as_("t"))
        .join(exp.to_table("target_terms").as_("e"), on=same)
        .order_by("t.user_id", "e.term")
    )
    written = engine.write_csv(rows, targets_file)
    engine.drop("target_terms")
    return written


def insert_targets(connection: Connection, terms_file: Path, targets_file: Path, at: object) -> int:
    """Insert, in the caller's transaction, the targets that are not there yet; returns how many.

    Raises:
        DatabaseError: a target names a campaign that is not there.
    """
    for statement in _STAGE:
        connection.execute(statement)
    copy_file(connection, "staged_terms", terms_file)
    copy_file(connection, "staged_targets", targets_file)
    connection.execute(_HOLD_CAMPAIGNS)
    strangers = connection.execute(_STRANGERS).scalars().all()
    if strangers:
        raise DatabaseError(
            f"targets name campaigns that are not in marketing.marketing_campaigns: {', '.join(strangers)}",
            remedy="materialise campaigns and campaign_targets of the day again, then publish it",
        )
    connection.execute(text("analyze staged_terms"))
    connection.execute(text("analyze staged_targets"))
    connection.execute(_FORGET_KNOWN)
    return connection.execute(_INSERT, {"at": at}).rowcount
