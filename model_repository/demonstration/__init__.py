"""The demonstration model: the scenes it learned from, how it was trained, and how it is measured."""
