"""A decoded batch laid out in a slab: runs in the decoder's thread, off the event loop."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from consumer.slabs import Slab
from consumer.work import Fetched, Group, Task
from trapstream.core.errors import Permanent
from trapstream.images.decode import Decoded, Decoder, Encoded
from trapstream.images.shot import read_shot


@dataclass(frozen=True, slots=True)
class Laid:
    """A batch after the letterbox."""

    groups: list[Group]
    """One for each model and shape."""
    failed: list[tuple[Task, Permanent]]


def letterbox_batch(decoder: Decoder, slab: Slab, batch: Sequence[Fetched]) -> Laid:
    """Decodes `batch` into `slab`. OSError if the slab cannot hold it."""
    wanted = [_encoded(fetched) for fetched in batch]
    failed: list[tuple[Task, Permanent]] = []
    alike: dict[tuple[str, tuple[int, ...]], list[tuple[Task, Decoded]]] = defaultdict(list)
    for fetched, decoded in zip(batch, decoder.decode(wanted), strict=True):
        if isinstance(decoded, Permanent):
            failed.append((fetched.task, decoded))
        else:
            alike[fetched.task.spec.model.label, decoded.pixels.shape].append((fetched.task, decoded))
            if fetched.task.spec.series is not None:
                fetched.task.shots[:] = [read_shot(fetched.data)]  # it may come here twice
    slab.hold(sum(decoded.pixels.nbytes for members in alike.values() for _, decoded in members))
    groups, offset = [], 0
    for (_, shape), members in alike.items():
        place = slab.pixels(offset, (len(members), *shape))
        for row, (_, decoded) in zip(place, members, strict=True):
            row[:] = decoded.pixels
        height, width, channels = shape
        groups.append(
            Group(
                slab=slab,
                offset=offset,
                shape=(height, width, channels),
                tasks=tuple(task for task, _ in members),
                letterboxes=tuple(decoded.letterbox for _, decoded in members),
            )
        )
        offset += place.nbytes
    return Laid(groups, failed)


def _encoded(fetched: Fetched) -> Encoded:
    model = fetched.task.spec.model
    return Encoded(fetched.data, model.image_size, model.stride, model.fixed, model.stretch)
