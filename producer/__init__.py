"""The producer: reads sources, makes manifests and jobs, publishes references."""
