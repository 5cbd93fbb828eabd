"""The shape of one DeBERTa, and the only reader of config.json.

keys.py      every key: what it may hold, and how its spellings are read
deberta.py   the frozen dataclasses of both families, from_dict and to_dict
"""

from spacy_deberta.config.deberta import DebertaConfig, DebertaV2Config
from spacy_deberta.config.keys import ACTIVATIONS, POSITION_TERMS, PROBLEM_TYPES, TOKEN_POOLING

__all__ = [
    "ACTIVATIONS",
    "POSITION_TERMS",
    "PROBLEM_TYPES",
    "TOKEN_POOLING",
    "DebertaConfig",
    "DebertaV2Config",
]
