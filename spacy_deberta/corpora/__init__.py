"""Data files to spaCy Docs, strictly: a bad line is an error that names file and line."""
