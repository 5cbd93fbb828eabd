"""Files to modules and back, strictly: nothing missing, nothing left over, nothing at random.

Read in this order:

    names.py       tensor names in files, beside ours           literal tables
    layouts.py     the two layouts of attention in files        pure functions, both directions
    files.py       config.json and weights in every format      bytes and tensors
        safetensors_file.py, pickle_file.py, h5_file.py, shards.py: the formats; entries.py,
        json_file.py, pickle_scan.py, h5_names.py: what they are checked with and translated by
        mapping.py: whether they are memory-mapped
    parts.py       one model out of a file: prefixes, old names, generator and discriminator
    tasks.py       which heads are there, and what they can do
    checkpoint.py  open_checkpoint: every tensor has a place, a reason to be left aside, or a fault
    unfilled.py    modules without values, to be filled
    accounting.py  every tensor used once, every parameter filled once
    load.py        encoders and heads from checkpoints, and back
    convert.py     a folder of one format to a folder of another
    sources.py     which folder a user's `source` stands for; hub.py fetches one
"""

from spacy_deberta.checkpoints.checkpoint import GENERATOR_FILE, Checkpoint, open_checkpoint
from spacy_deberta.checkpoints.convert import convert_folder
from spacy_deberta.checkpoints.files import read_config
from spacy_deberta.checkpoints.load import (
    build_encoder,
    damaged_values,
    encoder_from_bytes,
    encoder_tensors,
    encoder_to_bytes,
    fill_head,
    fill_modules,
    load_encoder,
    load_masked_lm_head,
    save_encoder,
    state_tensors,
)
from spacy_deberta.checkpoints.names import HEAD_NAMES, HEAD_TITLES
from spacy_deberta.checkpoints.parts import DISCRIMINATOR, GENERATOR
from spacy_deberta.checkpoints.sources import (
    EMBEDDED_FOLDER,
    EMBEDDED_PIPELINE,
    resolve_source,
    resolve_tokenizer_source,
)
from spacy_deberta.checkpoints.unfilled import unfilled

__all__ = [
    "DISCRIMINATOR",
    "EMBEDDED_FOLDER",
    "EMBEDDED_PIPELINE",
    "GENERATOR",
    "GENERATOR_FILE",
    "HEAD_NAMES",
    "HEAD_TITLES",
    "Checkpoint",
    "build_encoder",
    "convert_folder",
    "damaged_values",
    "encoder_from_bytes",
    "encoder_tensors",
    "encoder_to_bytes",
    "fill_head",
    "fill_modules",
    "load_encoder",
    "load_masked_lm_head",
    "open_checkpoint",
    "read_config",
    "resolve_source",
    "resolve_tokenizer_source",
    "save_encoder",
    "state_tensors",
    "unfilled",
]
