"""Heads: hidden rows to logits."""

from spacy_deberta.heads.mlm import MaskedLMHead

__all__ = ["MaskedLMHead"]
