"""The ways in for live images: uploads over HTTP and events of buckets, into jobs that stay open for a period."""
