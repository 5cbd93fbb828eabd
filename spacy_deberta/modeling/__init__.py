"""The public models and tokenizers, under the names that users know: rectangles in and out.

Read in this order:

    outputs.py     what the models return
    inputs.py      their arguments, checked
    packed.py      a rectangle to packed rows and back
    encode.py      the encoder over packed rows, or over the rectangle for `torch.export`
    loading.py     what is asked of a checkpoint beside what it holds
    base.py        loading, saving, resizing: what all models share
    bare.py, sequence.py, token.py, masked_lm.py      one class per task
    tokenization.py  texts to rectangles

There is one implementation of every task. The names of the second family are subclasses that take
its config, and differ in nothing else.
"""

from spacy_deberta.config import DebertaConfig, DebertaV2Config
from spacy_deberta.modeling.bare import DebertaModel, DebertaV2Model
from spacy_deberta.modeling.base import DebertaPreTrainedModel, DebertaV2PreTrainedModel
from spacy_deberta.modeling.masked_lm import DebertaForMaskedLM, DebertaV2ForMaskedLM
from spacy_deberta.modeling.outputs import (
    BaseModelOutput,
    MaskedLMOutput,
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    ReplacedTokenOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from spacy_deberta.modeling.sequence import (
    DebertaForMultipleChoice,
    DebertaForSequenceClassification,
    DebertaV2ForMultipleChoice,
    DebertaV2ForSequenceClassification,
)
from spacy_deberta.modeling.token import (
    DebertaForQuestionAnswering,
    DebertaForReplacedTokenDetection,
    DebertaForTokenClassification,
    DebertaV2ForQuestionAnswering,
    DebertaV2ForReplacedTokenDetection,
    DebertaV2ForTokenClassification,
)
from spacy_deberta.modeling.tokenization import (
    DebertaTokenizer,
    DebertaTokenizerFast,
    DebertaV2Tokenizer,
    DebertaV2TokenizerFast,
)

__all__ = [
    "BaseModelOutput",
    "DebertaConfig",
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
    "MaskedLMOutput",
    "MultipleChoiceModelOutput",
    "QuestionAnsweringModelOutput",
    "ReplacedTokenOutput",
    "SequenceClassifierOutput",
    "TokenClassifierOutput",
]
