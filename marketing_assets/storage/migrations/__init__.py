"""Alembic migrations of the serving schema; `REVISION` is the newest one."""

REVISION = "0006"
