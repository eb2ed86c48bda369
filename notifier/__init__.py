"""The notifier: sends each result to clients and receivers, as streams of events and as webhooks."""
