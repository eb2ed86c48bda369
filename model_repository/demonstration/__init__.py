"""The demonstration model: its graph, its card, and what was measured of it."""
