"""How a run's tests are shared out between workers: whole groups, the longest first, whatever becomes of a worker."""

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

_FIRST, _SECOND = "the first stack of the acceptance tests", "the second one"
SHARED = {
    **dict.fromkeys(("errors", "jobs", "kill", "live", "run", "urls"), _FIRST),
    **dict.fromkeys(("deploy", "diff", "import", "verdict"), _SECOND),
}
"""Files that share a stack: one worker runs them, and another one those that load models of their own."""
_APART = ("test_uploads_while_processes_are_killed", "test_a_death_at_any_step_changes_no_byte")
"""Long tests that need nothing of the others in their file. One with parameters is a group for each service in them."""


def group(test: str) -> str:
    """Names the tests that go to one worker together: those that share an acceptance stack, else those of a file."""
    file, _, name = test.partition("::")
    folder, _, stem = file.rpartition("/test_")
    if name.partition("[")[0] in _APART:
        return f"{file}::{name.partition('.')[0]}"
    return SHARED.get(stem.removesuffix(".py"), file) if folder.endswith("acceptance") else file


def turn(test: str) -> tuple[int, bool]:
    """Sorts tests by when they should start: a stack's before the many that need none, which fill the gaps."""
    tiers = ("acceptance", "integration")
    tier = next((number for number, tier in enumerate(tiers) if f"/{tier}/" in test), len(tiers))
    return tier, group(test) not in {_FIRST, _SECOND}


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """As pytest-xdist shares out groups, for workers that may crash.

    pytest-xdist gives a crashed worker's finished groups to the next worker, which then waits for ever: with nothing to
    run it never asks for more. And it runs the test during which the worker crashed again, worker after worker.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)

    def remove_node(self, node: WorkerController) -> str | None:
        """Gives back the tests that a worker left undone; returns the one during which it crashed, or None."""
        workload = self.assigned_work.pop(node)
        undone = [(name, test) for name, tests in workload.items() for test, done in tests.items() if not done]
        if not undone:
            return None
        (_, crashed), *rest = undone
        for name, test in rest:
            self.workqueue.setdefault(name, {})[test] = False
        for other in self.nodes:
            self._reschedule(other)
        return str(crashed)

    def _reschedule(self, node: WorkerController) -> None:
        """Gives a worker its next group in time: with one test left it waits to be told of another, or of the end.

        One that has just been started in a crashed one's place asks for itself once it has collected the tests.
        """
        if node not in self.registered_collections:
            return
        while self.workqueue and not node.shutting_down and self._pending_of(self.assigned_work[node]) < 2:
            self._assign_work_unit(node)
        if not self.workqueue and not node.shutting_down:
            node.shutdown()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> GroupScheduling:
    """The one way in which workers share tests, whatever --dist says."""
    config.option.loadscopereorder = False
    return GroupScheduling(config, log)
