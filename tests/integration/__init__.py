"""Parts against real counterparts."""
