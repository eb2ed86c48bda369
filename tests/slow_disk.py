"""The aggregator on a disk whose syncs take long: `python -m tests.slow_disk SECONDS`.

A commit waits for the disk's sync (SQLite, synchronous=FULL), so that each commit of a store takes so much longer here.
All else is the aggregator as it is.
"""

import functools
import runpy
import sqlite3
import sys
import time
from typing import Any

_SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0


class _OnSlowDisk(sqlite3.Connection):
    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        """As it is, and a commit ends later."""
        answer = super().execute(sql, *values)
        if sql == "commit":
            time.sleep(_SECONDS)
        return answer


if __name__ == "__main__":
    sqlite3.connect = functools.partial(sqlite3.connect, factory=_OnSlowDisk)  # type: ignore[assignment]
    runpy.run_module("aggregator", run_name="__main__", alter_sys=True)
