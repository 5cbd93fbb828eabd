"""spaCy components. This package imports nothing here: factories are loaded by their entry points.

transformer.py  the shared encoder, `deberta`
backward.py     when its backward runs: the protocol between the encoder and its listeners
doc_data.py     what it leaves on a Doc
"""
