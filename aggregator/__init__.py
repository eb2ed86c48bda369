"""The aggregator: folds results from the log into one result file a job."""
