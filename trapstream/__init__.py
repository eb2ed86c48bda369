"""Trapstream: a streaming inference server for camera-trap photographs."""

__version__ = "0.2.0"
