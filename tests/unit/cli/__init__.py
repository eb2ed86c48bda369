"""Unit tests of one package."""
