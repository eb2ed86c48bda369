"""The producer: publishes the references of stored manifests and live journals, and takes live images."""
