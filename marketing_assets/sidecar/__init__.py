"""The sidecar: what the mobile app calls. It reads published tables and appends what users do; no Dagster."""
