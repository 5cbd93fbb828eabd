"""Thin wrappers between spaCy's Docs, thinc's models and the torch encoder; no maths of their own.

    types.py        one shape per stage
    pieces.py       Docs -> pieces, and which token they belong to
    windows.py      pieces -> one packed batch for the encoder
    wrapper.py      packed batch -> token rows, in torch
    shim.py         the torch encoder inside a thinc model: lazy loading, bytes, steps
    optimizer.py    AdamW for the encoder and for thinc heads
    transformer.py  the model of the `deberta` component
    listeners.py    the layer through which other components use that model

This package imports nothing here: its modules are loaded by name, when they are needed.
"""
