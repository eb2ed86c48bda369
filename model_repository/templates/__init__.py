"""Templates of model repository entries, one folder for each runtime."""
