"""What a model's bundle is called in Triton. Pure."""

TRITON_VERSION = "1"
"""Triton's own version of every entry: those are whole numbers, and a bundle's are not."""


def entry_name(name: str, version: str) -> str:
    """The entry that serves one version of a model. Each has one of its own, so they load and unload independently."""
    return f"{name}@{version}"
