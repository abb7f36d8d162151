"""A trained model at work: raw rows to tokens and back, token files, diagnosis."""
