"""Contenders that no strategy makes: without a network, or with another quantizer."""
