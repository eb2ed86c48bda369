"""A job's credit, and what a look at Kafka's figures may not know of it."""

from producer.pace import Credit


def test_what_is_acknowledged_during_a_look_still_counts() -> None:
    """The figures may be older than an acknowledgement that comes while they are asked for: its references stay."""
    credit = Credit(1.0, 0.0)
    credit.grant(200)
    credit.spend(200)
    credit.begin_look()
    credit.settle(150)
    assert credit.unsettled == 200
    credit.begin_look()
    assert credit.unsettled == 50
    credit.settle(50)
    credit.begin_look()
    assert credit.unsettled == 0
    assert credit.used_up
