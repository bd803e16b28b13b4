"""Checks: what must hold before the app sees a night, and what is worth a warning."""
