"""What marketing decides, as data: patterns, campaigns and limits, and the file they come from.

How it is carried out belongs in `domain/` and `sql/`; nothing here reads a user or a transaction.
"""
