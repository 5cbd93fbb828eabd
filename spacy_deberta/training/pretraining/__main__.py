"""`python -m spacy_deberta.training.pretraining CONFIG`: a run where only torch is installed.

Also what `torchrun -m spacy_deberta.training.pretraining CONFIG` starts in every process.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from spacy_deberta.errors import DebertaError
from spacy_deberta.training.pretraining.config_file import parse_overrides
from spacy_deberta.training.pretraining.run import pretrain
from spacy_deberta.training.pretraining.settings import read_settings

_BAD_INPUT = 2  # exit code
_INTERRUPTED = 130  # exit code after the second signal


def main(arguments: Sequence[str] | None = None) -> int:
    """Train from a config file; errors of ours become one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m spacy_deberta.training.pretraining",
        description="Pre-train an encoder, or go on from the newest checkpoint in run.out.",
        epilog="Any setting can be given as --section.key VALUE (JSON, or plain text).",
        allow_abbrev=False,
    )
    parser.add_argument("config", type=Path, help="config file, such as configs/pretrain_v3.cfg")
    parser.add_argument(
        "--force",
        action="append",
        default=[],
        metavar="SECTION.KEY",
        help="go on although this setting differs from the checkpoint's; repeat for more",
    )
    parser.add_argument(
        "--strict", action="store_true", help="refuse to pass over a damaged checkpoint"
    )
    known, rest = parser.parse_known_args(arguments)
    try:
        settings = read_settings(known.config, parse_overrides(rest))
        return pretrain(settings, forced=known.force, strict=known.strict)
    except DebertaError as error:
        sys.stderr.write(f"error: {error}\n")
        return _BAD_INPUT
    except KeyboardInterrupt:
        sys.stderr.write("stopped at once; the checkpoints are as they were\n")
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
