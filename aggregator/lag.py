"""How far the lanes are read and the log of results has come: Kafka's own figures, asked once."""

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from aggregator.lost import Figures, Offsets
from trapstream.core import kafka, lag, topics
from trapstream.core.errors import Retryable
from trapstream.core.messages import Lane


async def figures(servers: str) -> Figures:
    """Asks Kafka. Retryable if it does not answer."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    client = kafka.Consumer(bootstrap_servers=servers, group_id=None, enable_auto_commit=False)
    try:
        await admin.start()
        await client.start()
        read = {lane: await _read(admin, client, lane) for lane in Lane}
        results = await lag.ends(client, topics.DETECTIONS)
        ends = {lane: await lag.ends(client, topics.lane_topic(lane)) for lane in Lane}
    except (KafkaError, OSError) as error:
        raise Retryable(f"{servers}: {error!r}") from error
    finally:
        await client.stop()
        await admin.close()
    return Figures(read=read, results=results, ends=ends)


async def _read(admin: AIOKafkaAdminClient, client: kafka.Consumer, lane: Lane) -> Offsets:
    return {number: part.offset for number, part in (await lag.answered(admin, client, lane)).items()}
