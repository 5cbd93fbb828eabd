"""Thin wrappers between spaCy's Docs, thinc's models and the torch encoder; no maths of their own.

    types.py        one shape per stage
    pieces.py       Docs -> pieces, and which token they belong to
    windows.py      pieces -> one packed batch for the encoder
    wrapper.py      packed batch -> token rows, in torch
    shim.py         the torch encoder inside a thinc model: lazy loading, bytes, steps
    compute.py      where, and in which precision, it computes
    optimizer.py    AdamW for the encoder and for thinc heads
    transformer.py  the model of the `deberta` component
    listeners.py    the layer through which other components use that model
    layer_mix.py    the same for several of its layers
    replacing.py    what stands in a listener's place after `nlp.replace_listeners`
    sequences.py    the encoder over sequences that a component lays itself
    heads.py        torch heads over its rows; head_shim.py: built late, saved, stepped
    tagger.py, classifier.py, answers.py, choice.py, mask_filler.py
                    the models of the task components

This package imports nothing here: its modules are loaded by name, when they are needed.
"""
