"""Files to modules and back, strictly: nothing missing, nothing left over, nothing at random.

Read in this order:

    names.py       tensor names in files, beside ours     literal tables
    files.py       config.json and model.safetensors      bytes and tensors
    accounting.py  every tensor used once, every parameter filled once
    load.py        encoders and heads from folders, and back
    sources.py     which folder a user's `source` stands for
"""

from spacy_deberta.checkpoints.files import read_config
from spacy_deberta.checkpoints.load import (
    encoder_from_bytes,
    encoder_tensors,
    encoder_to_bytes,
    load_encoder,
    load_masked_lm_head,
    save_encoder,
)
from spacy_deberta.checkpoints.sources import EMBEDDED_FOLDER, resolve_source

__all__ = [
    "EMBEDDED_FOLDER",
    "encoder_from_bytes",
    "encoder_tensors",
    "encoder_to_bytes",
    "load_encoder",
    "load_masked_lm_head",
    "read_config",
    "resolve_source",
    "save_encoder",
]
