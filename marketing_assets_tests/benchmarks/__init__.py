"""Tests of the benchmark's own logic; what it measures is measured by `make bench-small`."""
