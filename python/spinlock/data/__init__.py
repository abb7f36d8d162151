"""Data sets in, clean categorised features out: reading, cleaning, categories, normalisation."""

from spinlock.data.dataset import Dataset, open_dataset
from spinlock.data.encoders import Encoder, encoder_names, register_encoder
from spinlock.data.readers import FamilySpec, load_table
from spinlock.data.table import FeatureTable, schema_fingerprint

__all__ = [
    "Dataset",
    "Encoder",
    "FamilySpec",
    "FeatureTable",
    "encoder_names",
    "load_table",
    "open_dataset",
    "register_encoder",
    "schema_fingerprint",
]
