"""Strategies side by side: the same splits, categories, bits and model."""
