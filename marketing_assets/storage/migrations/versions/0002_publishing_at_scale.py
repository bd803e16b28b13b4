"""Publishing at scale: segments in two slots behind a view, targets known by user and campaign alone.

`target_id` and its random index go, and so does the foreign key, which is checked row by row; ids compare
byte by byte. What is published stays, and who may read the segments may read them afterwards. The table of
targets is rewritten, so nobody reads it meanwhile.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_MOVE_GRANTS = (
    "do $$ declare given record; begin"
    " for given in select a.privilege_type as privilege, a.is_grantable,"
    " case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as receiver"
    " from pg_class c, aclexplode(c.relacl) a"
    " where c.oid = cast('marketing.{source}' as regclass) and a.grantee <> c.relowner"
    " and a.privilege_type <> 'MAINTAIN'"
    " loop execute format('grant %s on marketing.{target} to %s%s', given.privilege,"
    " given.receiver, case when given.is_grantable then ' with grant option' else '' end);"
    " end loop; end $$"
)

_KEEP_OWNER = (
    "do $$ declare owner text; name text; begin"
    " select pg_get_userbyid(relowner) into owner from pg_class"
    " where oid = cast('marketing.campaign_targets' as regclass);"
    " foreach name in array array['user_segments', 'user_segments_a', 'user_segments_b', 'live_segments']"
    " loop if to_regclass('marketing.' || name) is not null then"
    " execute format('alter table marketing.%I owner to %I', name, owner); end if;"
    " end loop; end $$"
)


def upgrade() -> None:
    """Fill a slot with the segments that are published, and drop what targets no longer have."""
    for name in ("user_segments_a", "user_segments_b"):
        _segments(name)
        op.execute(
            f"alter table marketing.{name} set"
            " (autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_threshold = 2147483647)"
        )
    op.create_table(
        "live_segments",
        sa.Column("only_row", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("slot", sa.Text(), nullable=False),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.CheckConstraint("only_row = 1", name=op.f("ck_live_segments_only_row")),
        sa.CheckConstraint("slot in ('a', 'b')", name=op.f("ck_live_segments_slot")),
        sa.PrimaryKeyConstraint("only_row", name=op.f("pk_live_segments")),
        schema="marketing",
    )
    op.execute("insert into marketing.user_segments_a select * from marketing.user_segments")
    op.execute(
        "insert into marketing.live_segments (slot, as_of)"
        " select 'a', max(as_of) from marketing.user_segments having count(*) > 0"
    )
    op.execute("alter table marketing.user_segments rename to user_segments_before")
    op.execute(
        "create view marketing.user_segments as"
        " select * from marketing.user_segments_a"
        " where (select slot from marketing.live_segments) = 'a'"
        " union all select * from marketing.user_segments_b"
        " where (select slot from marketing.live_segments) = 'b'"
    )
    op.execute(_MOVE_GRANTS.format(source="user_segments_before", target="user_segments"))
    op.drop_table("user_segments_before", schema="marketing")
    op.execute(_KEEP_OWNER)
    op.execute(
        "alter table marketing.campaign_targets"
        " drop constraint pk_campaign_targets,"
        " drop constraint fk_campaign_targets_campaign_id,"
        " drop constraint uq_campaign_targets_user_id_campaign_id,"
        " drop column target_id,"
        ' alter column user_id type varchar(200) collate "C",'
        " alter column reason type json using cast(reason as json),"
        " add constraint pk_campaign_targets primary key (user_id, campaign_id),"
        " set (fillfactor = 90)"  # room to update a row in its page when its offer is seen
    )
    op.execute(
        "comment on column marketing.campaign_targets.campaign_id is"
        " 'of marketing_campaigns; publishing checks it'"
    )


def downgrade() -> None:
    """Make one table of the slots again, and give targets their id and their foreign key back."""
    _segments("user_segments_before")
    op.execute("insert into marketing.user_segments_before select * from marketing.user_segments")
    op.execute(_MOVE_GRANTS.format(source="user_segments", target="user_segments_before"))
    op.execute("drop view marketing.user_segments")
    for name in ("user_segments_a", "user_segments_b", "live_segments"):
        op.drop_table(name, schema="marketing")
    op.execute("alter table marketing.user_segments_before rename to user_segments")
    op.execute("alter index marketing.pk_user_segments_before rename to pk_user_segments")
    op.execute('alter table marketing.user_segments alter column user_id type varchar(200) collate "default"')
    op.execute(_KEEP_OWNER)
    op.execute(
        "alter table marketing.campaign_targets add column target_id uuid,"
        " drop constraint pk_campaign_targets, reset (fillfactor),"
        ' alter column user_id type varchar(200) collate "default",'
        " alter column reason type jsonb using cast(reason as jsonb)"
    )
    op.execute(
        "update marketing.campaign_targets set target_id = cast(md5(campaign_id || ':' || user_id) as uuid)"
    )
    op.execute(
        "alter table marketing.campaign_targets"
        " alter column target_id set not null,"
        " add constraint pk_campaign_targets primary key (target_id),"
        " add constraint uq_campaign_targets_user_id_campaign_id unique (user_id, campaign_id),"
        " add constraint fk_campaign_targets_campaign_id foreign key (campaign_id)"
        " references marketing.marketing_campaigns (campaign_id)"
    )
    op.execute("comment on column marketing.campaign_targets.campaign_id is null")
    op.execute("comment on column marketing.campaign_targets.target_id is 'md5 of campaign_id:user_id'")


def _segments(name: str) -> None:
    op.create_table(
        name,
        sa.Column("user_id", sa.String(length=200, collation="C"), nullable=False),
        sa.Column("primary_pattern", sa.Text(), nullable=False),
        sa.Column("patterns", sa.ARRAY(sa.Text()), nullable=False, comment="best rank first"),
        sa.Column("spend", sa.Numeric(precision=14, scale=2), nullable=False),
        sa.Column("transactions", sa.Integer(), nullable=False),
        sa.Column("top_location", sa.Text(), nullable=True),
        sa.Column("top_category", sa.Text(), nullable=True),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f(f"pk_{name}")),
        schema="marketing",
    )
