"""Training encoders on text: torch only, no spaCy.

loop.py          the loop of every training: rates, clipping, progress
corpus.py        text files to pieces on disk, in windows
masking.py       which words to hide
upcycling.py     a BERT-like encoder as a DeBERTa that computes the same
vocabulary.py    another vocabulary for it, with rows made of the old ones
factorizing.py   a narrower piece table for it
words.py         the same texts in the pieces of two tokenizers
distillation.py  the upcycled encoder learns what it computed with its old vocabulary
pretraining/     pre-training from a config file, for long runs
scoring/         how well a masked language model knows a language
"""
