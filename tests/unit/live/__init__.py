"""Rules of the ways in for live images."""
