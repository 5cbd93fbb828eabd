"""The same encoder in both packages: folders, pipelines and configs that differ only in it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thinc.api import Config

OURS = "spacy-deberta"
THEIRS = "spacy-transformers 1.4.0"

# What they need of a checkpoint. Not tokenizer.json: it takes precedence over spm.model there, and
# the one beside the real v3-xsmall belongs to a product that splits words differently.
PEER_FILES = ("config.json", "model.safetensors", "spm.model", "tokenizer_config.json")

DIFFERENCES = """What still differs in training:
- Their Adam.v1 and our AdamW are both Adam with decoupled weight decay, at the same rates, betas,
  epsilon and decay. Theirs also decays norms and biases, clips each parameter's gradient by itself
  where ours clips the encoder's as a whole, and adds epsilon before it corrects the second moment.
- Theirs has one rate for encoder and head, so ours does too (head_learn_rate_scale = 1), except in
  the row "as shipped".
- Theirs counts windows in tokens, ours in pieces; these sentences fit into one window of either.
- Theirs gives a token also the first piece of the token after it (explosion/spaCy#13730).
- Same data, seed, batcher, number of steps and schedule. Dropout is the checkpoint's in both."""


def peer_source(source: Path, folder: Path) -> Path:
    """A folder with links to those files of a checkpoint that both packages read the same way."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PEER_FILES:
        link = folder / name
        link.unlink(missing_ok=True)
        if (source / name).exists():
            link.symlink_to((source / name).resolve())
    return folder


def our_component(
    source: Path, *, window: int, stride: int, precision: str = "fp32"
) -> dict[str, Any]:
    """The config of the component `deberta`; window and stride in pieces."""
    architecture = "spacy-deberta.DebertaModel.v1"
    model = {"@architectures": architecture, "source": str(source), "precision": precision}
    return {"factory": "deberta", "model": {**model, "window": window, "stride": stride}}


def their_component(source: Path, *, window: int, stride: int) -> dict[str, Any]:
    """The config of the component `transformer`; window and stride in tokens."""
    spans = {"@span_getters": "spacy-transformers.strided_spans.v1"}
    model = {
        "@architectures": "spacy-transformers.TransformerModel.v3",
        "name": str(source),
        "tokenizer_config": {"use_fast": True},
        "get_spans": {**spans, "window": window, "stride": stride},
    }
    return {"factory": "transformer", "model": model}


def their_config(ours: Config, source: Path) -> Config:
    """Our training config with their encoder, listener and optimizer in the place of ours."""
    config = ours.copy()
    settings = config["components"].pop("deberta")["model"]
    window, stride = settings["window"], settings["stride"]
    config["components"]["transformer"] = their_component(source, window=window, stride=stride)
    head = config["nlp"]["pipeline"][-1]
    config["nlp"]["pipeline"] = ["transformer", head]
    config["components"][head]["model"]["tok2vec"]["*"]["encoder"] = {
        "@architectures": "spacy-transformers.TransformerListener.v1",
        "pooling": {"@layers": "reduce_mean.v1"},
        "grad_factor": 1.0,
    }
    config["training"]["optimizer"] = their_optimizer(config["training"]["optimizer"])
    return config


def their_optimizer(ours: Mapping[str, Any]) -> dict[str, Any]:
    """Adam.v1 with the settings of our AdamW, as far as it has them."""
    shared = ("beta1", "beta2", "eps", "grad_clip", "use_averages", "learn_rate")
    return {
        "@optimizers": "Adam.v1",
        "L2": ours["weight_decay"],
        "L2_is_weight_decay": True,
        **{key: ours[key] for key in shared},
    }


def worker_environment(threads: int) -> dict[str, str]:
    """The environment of a measuring process: its threads, no network, no chatter."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONWARNINGS": "ignore",
    }
