"""Environments of the packages we are compared with, each in a folder of its own.

    python -m tests.benchmarks.peers                               # all of them
    python -m tests.benchmarks.peers transformers-5.23.0           # one
    python -m tests.benchmarks.peers --folder /big/disk/peers

They go to the folder in SPACY_DEBERTA_PEERS, or into the cache. pip's own variables, such as
PIP_EXTRA_INDEX_URL, are passed on to it.
"""

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

FOLDER_VARIABLE = "SPACY_DEBERTA_PEERS"

TORCH = ("torch==2.13.0",)
SENTENCEPIECE = ("sentencepiece==0.2.3", "protobuf==7.36.2")
EXPORTS = ("onnx==1.23.2", "openvino==2026.4.1")

SPACY_TRANSFORMERS = "spacy-transformers-1.4.0"
TRANSFORMERS = "transformers-5.23.0"
EXPORTER = "transformers-4.57.6"  # the last version whose DeBERTa the TorchScript exporter reads
ENCODER_SPEED = "encoder-speed"  # every package that runs an encoder on a CPU, in one process
PIPELINE_SPEED = "pipeline-speed"  # the last version with question answering, and what ours needs
TENSORFLOW = "transformers-4.57.6-tensorflow"  # the last version that has TensorFlow's classes

PEERS = {
    # 4.53.2 is the newest transformers that it allows.
    SPACY_TRANSFORMERS: (
        "spacy-transformers==1.4.0",
        "spacy==3.8.18",
        "thinc==8.3.14",
        "transformers==4.53.2",
        "numpy==2.4.6",
        *TORCH,
        *SENTENCEPIECE,
    ),
    TRANSFORMERS: ("transformers==5.23.0", *TORCH, *SENTENCEPIECE),
    EXPORTER: ("transformers==4.57.6", *TORCH, *SENTENCEPIECE, *EXPORTS),
    # safetensors, numpy, tokenizers and sentencepiece are what our encoder needs to be imported.
    ENCODER_SPEED: (
        "transformers==5.23.0",
        "onnxruntime==1.31.1",
        "numpy==2.4.6",
        "safetensors==0.8.0",
        *TORCH,
        *SENTENCEPIECE,
        *EXPORTS,
    ),
    PIPELINE_SPEED: (
        "transformers==4.57.6",
        "spacy==3.8.18",
        "thinc==8.3.14",
        "numpy==2.4.6",
        "safetensors==0.8.0",
        *TORCH,
        *SENTENCEPIECE,
    ),
    TENSORFLOW: (
        "transformers==4.57.6",
        "tensorflow-cpu==2.19.1",
        "tf-keras==2.19.0",
        "numpy==2.1.3",
        "protobuf==5.29.5",
        *TORCH,
    ),
}


def peers_folder() -> Path:
    """Where the environments are."""
    if FOLDER_VARIABLE in os.environ:
        return Path(os.environ[FOLDER_VARIABLE])
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "spacy-deberta" / "peers"


def peer_python(name: str) -> Path:
    """The interpreter of one peer.

    Raises:
        FileNotFoundError: its environment is not there; says how to make it.
    """
    python = peers_folder() / name / "bin" / "python"
    if not python.exists():
        raise FileNotFoundError(
            f"{python}: not there. Make it with: python -m tests.benchmarks.peers {name}"
        )
    return python


def make_peer(name: str, folder: Path) -> None:
    """Create one environment, or bring it to the pinned versions."""
    print(f"{name}: {', '.join(PEERS[name])}", flush=True)
    venv.create(folder / name, with_pip=True)
    python = folder / name / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*install, *PEERS[name]], check=True)


def main() -> None:
    """Read the command line and make what it asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(PEERS)}; none = all")
    parser.add_argument("--folder", type=Path, default=peers_folder())
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(PEERS))
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}; known: {', '.join(PEERS)}")
    for name in arguments.names or PEERS:
        make_peer(name, arguments.folder)


if __name__ == "__main__":
    main()
