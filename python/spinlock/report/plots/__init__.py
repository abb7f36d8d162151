"""Figures made with matplotlib, which is imported with this package and nowhere else."""
