"""The result format: written, read, verified and compared, and the fold of the log that it is written from."""
