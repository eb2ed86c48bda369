"""The notifier: tells who listens of each result, as streams of events and as webhooks."""
