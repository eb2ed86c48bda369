"""Models: completing a graph, and the card that comes with one."""
