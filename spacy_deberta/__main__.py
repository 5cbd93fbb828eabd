"""`python -m spacy_deberta`: the commands of `spacy_deberta.cli`."""

from spacy_deberta.cli import main

if __name__ == "__main__":
    main()
