"""What logits mean: arrays and Python only, for components and pipelines alike.

scheme.py      tag schemes: what a list of tags means, which tag may follow which
tags.py        tags to spans: constrained Viterbi, scores; posteriors.py: forward-backward
emissions.py   logits of pieces to log-probabilities of words
segmenter.py   a text to the words that are tagged
choices.py     what is read of each choice of a question (choice_fields.py: data sets' fields)
classes.py     logits of sequences to labels, values and entailment
masks.py       what may stand in a mask: pieces, whole words, several masks together
mask_windows.py  texts with masks, in windows around them
answers.py     start and end logits to answers (answer_windows.py: what the model reads;
               answer_scores.py: exact match and F1; words.py: where words end)
calibration.py temperature and thresholds from held-out examples, and how well scores fit
"""

from spacy_deberta.decoding.answer_scores import best_threshold, judge_answer, summarize_answers
from spacy_deberta.decoding.answer_windows import (
    QuestionFrame,
    QuestionWindow,
    cut_question,
    lay_question,
)
from spacy_deberta.decoding.answers import (
    RankedSpan,
    SpanOptions,
    SpanScores,
    WindowLogits,
    rank_spans,
    score_spans,
)
from spacy_deberta.decoding.calibration import (
    Calibration,
    CalibrationReport,
    Evidence,
    Quality,
    calibrate_scores,
)
from spacy_deberta.decoding.choices import (
    LONG,
    ChoiceTexts,
    PairFrame,
    PairRow,
    choice_formats,
    choice_probabilities,
    lay_pair,
    read_question,
)
from spacy_deberta.decoding.classes import (
    ACTIVATIONS,
    MULTI_LABEL,
    PROBLEMS,
    REGRESSION,
    SINGLE_LABEL,
    NliLabels,
    activate,
    class_losses,
    find_activation,
    find_nli_labels,
    find_problem,
    merge_rows,
    passing,
    rank,
    read_thresholds,
    zero_shot_scores,
)
from spacy_deberta.decoding.emissions import AGGREGATIONS, aggregate_words, log_softmax
from spacy_deberta.decoding.mask_windows import (
    MASK,
    MaskedPieces,
    center_window,
    group_masks,
    split_at_masks,
)
from spacy_deberta.decoding.masks import (
    EXPANSION,
    Candidate,
    ChainStep,
    Filling,
    JointFilling,
    MaskScores,
    Order,
    allowed_pieces,
    best_pieces,
    chain_steps,
    chain_words,
    entropy,
    fill_jointly,
    log_probabilities,
    relative_shares,
)
from spacy_deberta.decoding.scheme import SCHEMES, TagScheme, bare_type, make_tags, read_scheme
from spacy_deberta.decoding.segmenter import segment_words, whitespace_words
from spacy_deberta.decoding.tags import TagSpan, candidate_spans, decode_tags

__all__ = [
    "ACTIVATIONS",
    "AGGREGATIONS",
    "EXPANSION",
    "LONG",
    "MASK",
    "MULTI_LABEL",
    "PROBLEMS",
    "REGRESSION",
    "SCHEMES",
    "SINGLE_LABEL",
    "Calibration",
    "CalibrationReport",
    "Candidate",
    "ChainStep",
    "ChoiceTexts",
    "Evidence",
    "Filling",
    "JointFilling",
    "MaskScores",
    "MaskedPieces",
    "NliLabels",
    "Order",
    "PairFrame",
    "PairRow",
    "Quality",
    "QuestionFrame",
    "QuestionWindow",
    "RankedSpan",
    "SpanOptions",
    "SpanScores",
    "TagScheme",
    "TagSpan",
    "WindowLogits",
    "activate",
    "aggregate_words",
    "allowed_pieces",
    "bare_type",
    "best_pieces",
    "best_threshold",
    "calibrate_scores",
    "candidate_spans",
    "center_window",
    "chain_steps",
    "chain_words",
    "choice_formats",
    "choice_probabilities",
    "class_losses",
    "cut_question",
    "decode_tags",
    "entropy",
    "fill_jointly",
    "find_activation",
    "find_nli_labels",
    "find_problem",
    "group_masks",
    "judge_answer",
    "lay_pair",
    "lay_question",
    "log_probabilities",
    "log_softmax",
    "make_tags",
    "merge_rows",
    "passing",
    "rank",
    "rank_spans",
    "read_question",
    "read_scheme",
    "read_thresholds",
    "relative_shares",
    "score_spans",
    "segment_words",
    "split_at_masks",
    "summarize_answers",
    "whitespace_words",
    "zero_shot_scores",
]
