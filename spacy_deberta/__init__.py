"""DeBERTa for spaCy.

The packages, top to bottom; imports go down only (`make check` verifies it):

    cli                      commands: parse, call one function, print
    components               spaCy components: the shared encoder `deberta` and task components
    training | thinc_layers | corpora
                             pre-training | torch inside thinc: windows, listeners, optimizer |
                             data files to Docs
    modeling                 the public models: rectangles in, rectangles out; tokenizers for them
    checkpoints              model folders to modules and back, strictly
    heads                    hidden states to logits and losses
    encoder                  DebertaEncoder, plain PyTorch
    tokenizers | alignment | decoding
                             text to pieces with offsets | tokens to pieces, windows (arrays only) |
                             logits to decisions with scores (arrays only)
    config                   DebertaConfig, the only reader of config.json
    errors                   everything raised on purpose

Importing this package imports neither torch nor spaCy: models and configs are looked up when they
are first asked for.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from spacy_deberta.errors import DebertaError

if TYPE_CHECKING:
    from spacy_deberta.modeling import (
        DebertaConfig,
        DebertaForMaskedLM,
        DebertaForMultipleChoice,
        DebertaForQuestionAnswering,
        DebertaForReplacedTokenDetection,
        DebertaForSequenceClassification,
        DebertaForTokenClassification,
        DebertaModel,
        DebertaPreTrainedModel,
        DebertaTokenizer,
        DebertaTokenizerFast,
        DebertaV2Config,
        DebertaV2ForMaskedLM,
        DebertaV2ForMultipleChoice,
        DebertaV2ForQuestionAnswering,
        DebertaV2ForReplacedTokenDetection,
        DebertaV2ForSequenceClassification,
        DebertaV2ForTokenClassification,
        DebertaV2Model,
        DebertaV2PreTrainedModel,
        DebertaV2Tokenizer,
        DebertaV2TokenizerFast,
    )

__version__ = "0.1.0"

__all__ = [
    "DebertaConfig",
    "DebertaError",
    "DebertaForMaskedLM",
    "DebertaForMultipleChoice",
    "DebertaForQuestionAnswering",
    "DebertaForReplacedTokenDetection",
    "DebertaForSequenceClassification",
    "DebertaForTokenClassification",
    "DebertaModel",
    "DebertaPreTrainedModel",
    "DebertaTokenizer",
    "DebertaTokenizerFast",
    "DebertaV2Config",
    "DebertaV2ForMaskedLM",
    "DebertaV2ForMultipleChoice",
    "DebertaV2ForQuestionAnswering",
    "DebertaV2ForReplacedTokenDetection",
    "DebertaV2ForSequenceClassification",
    "DebertaV2ForTokenClassification",
    "DebertaV2Model",
    "DebertaV2PreTrainedModel",
    "DebertaV2Tokenizer",
    "DebertaV2TokenizerFast",
    "__version__",
    "embedded_path",
]


def embedded_path() -> Path:
    """The folder of the pipeline inside this package, for `spacy.load`."""
    return Path(__file__).resolve().parent / "models" / "embedded"


def __getattr__(name: str) -> object:
    """Import what was asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "spacy_deberta.config" if name.endswith("Config") else "spacy_deberta.modeling"
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    """Public names, looked up or not, beside those that are there."""
    return sorted({*globals(), *__all__})
