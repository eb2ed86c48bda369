"""Rules: no I/O."""
