"""How it is decided: pure functions over policy, days and users, without I/O or an orchestrator.

Queries that run over all users are built here or kept in `sql/`; running them is the engine's part.
"""
