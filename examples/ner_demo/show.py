"""Load a saved pipeline, print the entities of fresh sentences, write them as a displaCy page.

python -m examples.ner_demo.show demo/spacy-deberta-0/model-best demo/entities.html
"""

import sys
from pathlib import Path

import spacy
from spacy import displacy

# Written for this project; none of it is in any training data.
SENTENCES = (
    "Just landed in Lisbon and the tram to Belém is already packed",
    "@maria_k did Ada Lovelace ever visit the Science Museum in London ?",
    "Microsoft opens a new office in Nairobi next spring",
    "so happy that Tom and Anne Sophie are coming to Kyoto with us !!",
    "Watching Casablanca on Netflix tonight , no spoilers pls",
    "Arsenal beat Chelsea 2 - 0 and I missed it because of the dentist",
)

COLORS = {
    "person": "#f6c6ad",
    "location": "#b8dfc0",
    "organization": "#aecdf0",
    "other": "#dcd0ec",
}


def show_entities(pipeline: Path, page: Path) -> None:
    """Print the entities that the saved pipeline finds, and write the page."""
    nlp = spacy.load(pipeline)
    docs = list(nlp.pipe(SENTENCES))
    for doc in docs:
        found = ", ".join(f"{ent.text} [{ent.label_}]" for ent in doc.ents)
        print(f"  {doc.text}\n      {found or '-'}")
    html = displacy.render(docs, style="ent", page=True, jupyter=False, options={"colors": COLORS})
    page.write_text(html, encoding="utf-8")
    print(f"\nthe same as a page: {page}")


if __name__ == "__main__":
    show_entities(Path(sys.argv[1]), Path(sys.argv[2]))
