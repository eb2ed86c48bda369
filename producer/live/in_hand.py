"""Which uploaded images are in hand: placed in the incoming area, while no job may refer to them yet. In memory."""

import threading
from collections import Counter
from collections.abc import Callable


class InHand:
    """Names of images, for uploads and the one cleaner beside them, from whichever threads.

    The cleaner calls `begin`, lets all be written that waits for it, reads who refers to what, and then removes. An
    upload holds its image's name from before it looks for its file until its line is written. So an image that it finds
    is either held, or was since `begin`, or stands in what the cleaner reads.
    """

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._held: Counter[str] = Counter()
        self._since: set[str] | None = None
        """Held at some moment since `begin`."""
        self._going: str | None = None
        """What is being removed."""

    def hold(self, name: str) -> None:
        """From here on the image stays. Waits for one that is going just now."""
        with self._change:
            self._change.wait_for(lambda: self._going != name)
            self._held[name] += 1
            if self._since is not None:
                self._since.add(name)

    def release(self, name: str) -> None:
        """The image's line is written, or never will be."""
        with self._change:
            self._held[name] -= 1
            if not self._held[name]:
                del self._held[name]

    def begin(self) -> None:
        """The cleaner begins to look who refers to what."""
        with self._change:
            self._since = set(self._held)

    def end(self) -> None:
        """The cleaner is done."""
        with self._change:
            self._since = None

    def remove(self, name: str, unlink: Callable[[], None]) -> bool:
        """Removes an image that nobody held since `begin`; whether it did. What `unlink` raises."""
        with self._change:
            if self._since is None or name in self._since:
                return False
            self._going = name
        try:
            unlink()
        finally:
            with self._change:
                self._going = None
                self._change.notify_all()
        return True
