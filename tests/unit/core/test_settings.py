"""The settings of all services together."""

from itertools import combinations

from trapstream.core.settings import AggregatorSettings, ConsumerSettings, NotifierSettings, ProducerSettings


def test_a_variable_that_two_services_read_has_one_default() -> None:
    """One environment is given to all services of a machine, so a name may not stand for two things."""
    services = (ProducerSettings, ConsumerSettings, AggregatorSettings, NotifierSettings)
    for one, other in combinations([service.model_fields for service in services], 2):
        both = one.keys() & other.keys()
        assert {name: one[name].get_default() for name in both} == {name: other[name].get_default() for name in both}
