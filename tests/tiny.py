"""Tiny encoders and pipelines for tests: two layers, width 16, random weights."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from spacy_deberta.checkpoints import save_encoder
from spacy_deberta.config import DebertaConfig, DebertaV2Config
from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.tokenizers import Tokenizer

torch.set_num_threads(1)  # with matrices this small, threads only wait for each other

MODEL = {"@architectures": "spacy-deberta.DebertaModel.v1", "window": 12, "stride": 6}
LISTENER = {"@architectures": "spacy-deberta.DebertaListener.v1"}
NER_MODEL = {
    "@architectures": "spacy.TransitionBasedParser.v2",
    "state_type": "ner",
    "extra_state_tokens": False,
    "hidden_width": 16,
    "maxout_pieces": 2,
    "use_upper": False,
    "tok2vec": LISTENER,
}
TAGGER_MODEL = {"@architectures": "spacy.Tagger.v2", "tok2vec": LISTENER}

TEXTS = (
    "Marie Curie moved to Paris.",
    "Every painter in the village crossed the old river slowly, again and again, in winter.",
    "A letter from Warsaw",
    "the quiet garden behind the station wrote  \n a   window",
    "London can't.",
)


def tiny_config(**changes: Any) -> DebertaConfig:
    """A v3-like shape without dropout."""
    settings: dict[str, Any] = {
        "vocab_size": 512,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "max_position_embeddings": 64,
        "max_relative_positions": 64,
        "position_buckets": 8,
        "pos_att_type": ("c2p", "p2c"),
        "relative_attention": True,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "position_biased_input": False,
        "initializer_range": 0.1,
    }
    return DebertaV2Config(**{**settings, **changes})


def tiny_v1_config(**changes: Any) -> DebertaConfig:
    """The same size in the layout of the first version."""
    settings: dict[str, Any] = {
        "vocab_size": 512,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "max_position_embeddings": 64,
        "pos_att_type": ("c2p", "p2c"),
        "relative_attention": True,
        "position_biased_input": False,
        "initializer_range": 0.1,
    }
    return DebertaConfig(**{**settings, **changes})


def write_checkpoint(folder: Path, tokenizer: Tokenizer, *, seed: int = 0, **changes: Any) -> Path:
    """A checkpoint folder with random weights."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    save_encoder(DebertaEncoder(tiny_config(**changes)), folder)
    tokenizer.save(folder)
    return folder


def tiny_nlp(source: Path, *, name: str = "deberta", **model: Any) -> Language:
    """A blank English pipeline with one tiny encoder."""
    nlp = spacy.blank("en")
    add_encoder(nlp, source, name=name, **model)
    return nlp


def add_encoder(nlp: Language, source: Path, *, name: str = "deberta", **model: Any) -> Any:
    config = {"model": {**MODEL, "source": str(source), **model}}
    return nlp.add_pipe("deberta", name=name, config=config)


def ner_examples(nlp: Language, texts: Sequence[str] = TEXTS) -> list[Example]:
    """Every capitalized word is a NAME, every word has the tag of its length."""
    examples = []
    for text in texts:
        doc = nlp.make_doc(text)
        names = [(t.idx, t.idx + len(t), "NAME") for t in doc if t.text[0].isupper()]
        tags = [("long" if len(token) > 4 else "short") for token in doc]
        examples.append(Example.from_dict(doc, {"entities": names, "tags": tags}))
    return examples


def make_docs(texts: Sequence[str]) -> list[Doc]:
    """Docs that no component has seen."""
    return [_blank().make_doc(text) for text in texts]


@functools.cache
def _blank() -> Language:
    return spacy.blank("en")
