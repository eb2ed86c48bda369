"""From a SOURCE to a stored manifest and a job."""
