"""`VACUUM (ANALYZE)` of the serving tables that have changed since they were last seen to."""

from dataclasses import dataclass

from sqlalchemy import Engine, text

from marketing_assets.storage.tables import audit_log, campaign_targets, marketing_campaigns

# Statistics lag some seconds behind; what the clean-up itself changes is known without them.
_ALWAYS = (audit_log.name, campaign_targets.name, marketing_campaigns.name)
_CHANGED = text(
    "select relname, quote_ident(relname) as quoted from pg_stat_user_tables where schemaname = 'marketing'"
    " and (relname = any(:always) or n_dead_tup > 0 or n_mod_since_analyze > 0 or n_ins_since_vacuum > 0)"
    " order by relname"
)
_BYTES = text(
    "select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint from pg_class c"
    " join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'marketing' and c.relkind = 'r'"
)


@dataclass(frozen=True)
class Vacuumed:
    """Tables that were vacuumed, and the bytes of all serving tables with their indexes."""

    tables: list[str]
    bytes: int


def vacuum_changed(serving: Engine) -> Vacuumed:
    """Free and analyze what changed; nobody who reads or writes waits."""
    with serving.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        changed = connection.execute(_CHANGED, {"always": list(_ALWAYS)}).all()
        for row in changed:
            connection.execute(text("vacuum (analyze) marketing." + row.quoted))
        size = connection.execute(_BYTES).scalar_one()
    return Vacuumed([row.relname for row in changed], size)
