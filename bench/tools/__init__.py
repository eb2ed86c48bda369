"""Tools for developers: kills at random, the peers of this system, tables of a GPU."""
