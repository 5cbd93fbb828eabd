"""Make what `train_embedded` wrote into the pipeline inside the package: 16 bits, no masked LM.

    python -m tests.benchmarks.pack_embedded TRAINED OUT

The mask head goes into OUT/deberta, a checkpoint that fill-mask and other libraries read; the
component that trained it is left out.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import spacy

from spacy_deberta.checkpoints import convert_folder
from spacy_deberta.components.exporting import export_pipeline

FILL_MASK = "fill_mask"
ENCODER = "deberta"
OWN_FILES = ("cfg",)  # of the component, beside the checkpoint's
META = {
    "name": "embedded",
    "version": "0.1.0",
    "author": "spacy-deberta contributors",
    "license": "Apache-2.0",
    "description": "Tags, dependencies, entities, sentiment, entailment, answers and choices over "
    "one small DeBERTa",
}


def pack(trained: Path, target: Path) -> None:
    """Write the pipeline folder."""
    nlp = spacy.load(trained, exclude=["vocab"])  # which has all words of the training data
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint, half = Path(temporary) / "checkpoint", Path(temporary) / "half"
        export_pipeline(nlp, checkpoint, FILL_MASK)
        convert_folder(checkpoint, half, dtype="float16")
        nlp.remove_pipe(FILL_MASK)
        nlp.config["paths"]["source"] = None
        nlp.config["components"][ENCODER]["model"]["precision"] = "fp32"  # fast on any processor
        nlp.meta.update(META)
        for pipe in dict(nlp.pipeline).values():
            for label in getattr(pipe, "labels", ()):
                nlp.vocab.strings.add(label)
        nlp.to_disk(target)
        for name in OWN_FILES:
            shutil.copyfile(target / ENCODER / name, half / name)
        shutil.rmtree(target / ENCODER)
        shutil.copytree(half, target / ENCODER)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("trained", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    pack(arguments.trained, arguments.out)
    size = sum(file.stat().st_size for file in arguments.out.rglob("*") if file.is_file())
    print(f"{arguments.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
