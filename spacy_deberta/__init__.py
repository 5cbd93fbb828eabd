"""DeBERTa for spaCy.

The packages, top to bottom; imports go down only (`make check` verifies it):

    cli                      commands: parse, call one function, print
    components               spaCy components: the shared encoder `deberta` and task components
    training | thinc_layers | corpora
                             pre-training | torch inside thinc: windows, listeners, optimizer |
                             data files to Docs
    checkpoints              model folders to modules and back, strictly
    heads                    hidden states to logits and losses
    encoder                  DebertaEncoder, plain PyTorch
    tokenizers | alignment   text to pieces with offsets | tokens to pieces, windows (arrays only)
    config                   DebertaConfig, the only reader of config.json
    errors                   everything raised on purpose

Importing this package imports neither torch nor spaCy.
"""

from spacy_deberta.errors import DebertaError

__version__ = "0.1.0"

__all__ = ["DebertaError", "__version__"]
