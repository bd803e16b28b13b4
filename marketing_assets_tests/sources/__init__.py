"""Tests of the sources and of ingestion."""
