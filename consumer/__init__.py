"""The consumer: fetch, decode, detect, emit. Work in from Kafka, one answer out for each image."""
