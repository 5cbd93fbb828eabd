"""`make demo`: named entity recognition, from annotated text to a saved spaCy pipeline.

data      annotated sentences -> train, dev and test files
training  `spacy train` and `spacy evaluate` under a time budget, and what to compare with
show      the saved pipeline in a new process: entities of fresh sentences, a displaCy page
__main__  the steps, one after the other, and the table of scores
"""
