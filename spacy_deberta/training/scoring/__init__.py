"""How probable a masked language model finds texts: for comparing models, never for training.

Read in this order:

    texts.py         texts as pieces, and which pieces make a word
    scorers.py       copies of texts with hidden pieces -> log-probabilities of what stood there;
                     a masked-LM model, and piece frequencies as a control
    sources.py       a checkpoint folder, "random" or "unigram" -> a scorer
    likelihood.py    pseudo-log-likelihoods: every piece hidden once
    minimal_pairs.py which of two sentences is more probable (BLiMP)
    running_text.py  masked accuracy, pseudo-perplexity, bits per character

Two variants, as in Salazar et al. 2020 (arXiv:1910.14659) and Kauf & Ivanova 2023
(arXiv:2305.10588), both over all pieces of a text, [CLS] and [SEP] excluded, at temperature 1 and
not divided by length:

    pll             a piece is predicted from all others
    pll_word_l2r    the later pieces of the same word are hidden, too. Otherwise the rest of a rare
                    word gives its pieces away, and vocabularies of small pieces win.
"""

from spacy_deberta.training.scoring.likelihood import TextScores, pseudo_log_likelihoods
from spacy_deberta.training.scoring.minimal_pairs import (
    Pair,
    PairReport,
    SetScore,
    VariantScore,
    read_pairs,
    score_pairs,
)
from spacy_deberta.training.scoring.running_text import (
    RunningTextReport,
    read_passages,
    score_running_text,
)
from spacy_deberta.training.scoring.scorers import (
    Copy,
    MaskedScorer,
    Predictions,
    Scorer,
    UnigramScorer,
)
from spacy_deberta.training.scoring.sources import (
    ScorerOptions,
    open_masked_lm,
    open_random,
    open_unigram,
)
from spacy_deberta.training.scoring.texts import ReadText, read_texts

__all__ = [
    "Copy",
    "MaskedScorer",
    "Pair",
    "PairReport",
    "Predictions",
    "ReadText",
    "RunningTextReport",
    "Scorer",
    "ScorerOptions",
    "SetScore",
    "TextScores",
    "UnigramScorer",
    "VariantScore",
    "open_masked_lm",
    "open_random",
    "open_unigram",
    "pseudo_log_likelihoods",
    "read_pairs",
    "read_passages",
    "read_texts",
    "score_pairs",
    "score_running_text",
]
