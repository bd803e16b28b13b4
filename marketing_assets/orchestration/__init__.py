"""Dagster objects only, thin: resource -> domain and SQL -> storage -> result with metadata."""
