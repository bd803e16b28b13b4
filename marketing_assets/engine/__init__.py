"""What runs the set-wide SQL: the protocol in `base`, one module for each engine."""
