"""The stack on one machine: a real Kafka, a real Triton and the services, without Docker, Java or a GPU."""
