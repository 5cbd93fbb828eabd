"""Data files to spaCy Docs, strictly: a bad line is an error that names file and line.

iob.py             CoNLL: a token and its tag in each line
squad.py           questions with answers; question_docs.py: how they stand on a Doc
choices.py         questions with choices
classes.py         texts and pairs with labels or values
docs.py            Docs to .spacy files, and the seeded split
"""
