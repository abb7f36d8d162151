"""Measurements: nothing in spinlock imports this folder."""
