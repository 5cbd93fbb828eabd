"""spaCy components. This package imports nothing here: factories are loaded by their entry points.

transformer.py   the shared encoder, `deberta`
listened.py      its side that listeners see; linking.py: which layers listen to it
backward.py      when its backward runs: the protocol between the encoder and its listeners
parts.py         Docs that a component cuts out of those of the update
doc_data.py      what it leaves on a Doc
unfreezing.py    a callback that trains it from its last layer down

ner.py           `deberta_ner`: entities with their probabilities (span_scores.py)
textcat.py       `deberta_textcat`: labels and values of texts and pairs (pairs.py, class_scores.py)
qa.py            `deberta_qa`: answers to questions about a Doc (qa_scoring.py)
choice.py        `deberta_choice`: which of several answers fits a text
fill_mask.py     `deberta_fill_mask`: masked-LM training on a user's text (masked_text.py)
task_pipe.py     what these share: bad Docs, settings changed at loading

importing.py     a fine-tuned checkpoint as a pipeline; exporting.py: the way back
"""
