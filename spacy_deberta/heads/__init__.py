"""Heads: hidden rows of the encoder to logits, and the losses on them. Torch only.

    dense.py, losses.py           what they share
    pooling.py                    one row for a sequence
    sequence.py                   labels of a sequence, multiple choice
    token.py, span.py             labels of pieces, answers
    mlm.py, vocabulary.py         masked pieces, and a loss over many classes
    queries.py, mask_decoder.py   what comes before it without positions in the input
    rtd.py                        replaced pieces, and the table that they were trained with
    record.py                     Microsoft's ReCoRD

A head takes packed rows (N, hidden_size), as the encoder gives them; those that judge every piece
by itself take rows of any shape. In a loss, a negative target is ignored, and none at all gives 0.
"""

from spacy_deberta.heads.mask_decoder import EnhancedMaskDecoder
from spacy_deberta.heads.mlm import LegacyMaskedLMHead, MaskedLMHead, masked_lm_loss
from spacy_deberta.heads.pooling import ContextPooler
from spacy_deberta.heads.record import ABSENT_LOGIT, RecordHead, record_loss
from spacy_deberta.heads.rtd import ReplacedTokenHead, disentangled_table, rtd_loss
from spacy_deberta.heads.sequence import ChoiceHead, SequenceHead, choice_loss, sequence_loss
from spacy_deberta.heads.span import SpanHead, span_loss
from spacy_deberta.heads.token import ProjectedTokenHead, TokenHead, token_loss

__all__ = [
    "ABSENT_LOGIT",
    "ChoiceHead",
    "ContextPooler",
    "EnhancedMaskDecoder",
    "LegacyMaskedLMHead",
    "MaskedLMHead",
    "ProjectedTokenHead",
    "RecordHead",
    "ReplacedTokenHead",
    "SequenceHead",
    "SpanHead",
    "TokenHead",
    "choice_loss",
    "disentangled_table",
    "masked_lm_loss",
    "record_loss",
    "rtd_loss",
    "sequence_loss",
    "span_loss",
    "token_loss",
]
