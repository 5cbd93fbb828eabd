"""The benchmark of pre-training objectives: both starts have the same weights."""

from pathlib import Path

import torch

from spacy_deberta.checkpoints import open_checkpoint, save_encoder
from spacy_deberta.encoder import DebertaEncoder
from spacy_deberta.tokenizers import load_tokenizer
from spacy_deberta.training.pretraining.models import MaskedLM
from tests.benchmarks.pretraining_objectives import DECODER, INPUT, write_starts
from tests.tiny import tiny_config


def test_the_mask_decoder_gets_the_positions_of_the_input(
    tmp_path: Path, tiny_spm_folder: Path
) -> None:
    torch.manual_seed(0)
    start = tmp_path / "start"
    save_encoder(DebertaEncoder(tiny_config(position_biased_input=True, vocab_size=384)), start)
    load_tokenizer(tiny_spm_folder).save(start)
    write_starts(start, tmp_path / "out", seed=1)
    models = {
        name: MaskedLM.from_checkpoint(
            open_checkpoint(tmp_path / "out" / name / "start"), fresh_head=False
        )
        for name in (INPUT, DECODER)
    }
    kept, moved = models[INPUT].state_dict(), models[DECODER].state_dict()
    assert kept.pop("encoder.embeddings.positions.weight").equal(moved.pop("decoder.positions"))
    assert kept.keys() == moved.keys()
    assert all(tensor.equal(moved[name]) for name, tensor in kept.items())
