"""Where a stack keeps its state, and what all stacks of a user share. It only names paths and creates nothing."""

import hashlib
import os
from pathlib import Path

import platformdirs

STACK_VARIABLE = "TRAPSTREAM_STACK"
"""In the environment of every child, with the stack's shared memory prefix as value: how leftovers are told apart."""


def default_home() -> Path:
    """`TRAPSTREAM_HOME`, or the user's data folder. Absolute, links resolved: the identity of a stack."""
    return Path(os.environ.get("TRAPSTREAM_HOME") or platformdirs.user_data_dir("trapstream")).expanduser().resolve()


def cache_folder() -> Path:
    """`TRAPSTREAM_CACHE`, or the user's cache folder: downloads, shared by all stacks."""
    chosen = os.environ.get("TRAPSTREAM_CACHE") or platformdirs.user_cache_dir("trapstream")
    return Path(chosen).expanduser().resolve()


def shm_prefix(home: Path) -> str:
    """Begins the name of every shared memory region of the stack in `home`, and of no other stack's.

    Two users may use equal paths in different containers over one /dev/shm, so the user's number is part of it.
    """
    digest = hashlib.sha256(f"{os.getuid()}:{home}".encode()).hexdigest()[:12]
    return f"trapstream-{digest}-"


def log_file(home: Path, name: str) -> Path:
    """The log of a child, or of the supervisor or the command."""
    return home / "logs" / f"{name}.log"


def stack_file(home: Path) -> Path:
    """The stack's state as its supervisor last wrote it."""
    return home / "stack.json"


def lock_file(home: Path) -> Path:
    """Held by the one supervisor of this home; names it."""
    return home / "stack.lock"


def users_file(home: Path) -> Path:
    """Locked, shared, by each command that uses a passing stack."""
    return home / "stack.users"
