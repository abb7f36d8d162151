"""Clocks and watches: interleaved timing, noise, peak memory."""
