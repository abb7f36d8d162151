"""Ragged vector quantization for PyTorch, and tokenizers with adaptive compression."""

__version__ = "0.1.0"
