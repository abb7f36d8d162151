"""Measurements of speed and quality, and their recorded results; nothing imports this package."""

from bench.source_tree import make_importable

make_importable()
