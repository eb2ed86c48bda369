"""Measuring whole and part."""
