"""Word-aligned distillation: an encoder with a new vocabulary learns what its old self computes.

Teacher and student read the same text in pieces of their own. Words, the runs of characters between
spaces, are what they have in common: the rows of a word's pieces are averaged, layer by layer, and
the student's averages are drawn to the teacher's. Some words are hidden from the student, which has
to predict their pieces as a masked language model, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from spacy_deberta.checkpoints import (
    load_encoder,
    load_masked_lm_head,
    open_checkpoint,
    save_encoder,
)
from spacy_deberta.encoder import DebertaEncoder, pool_rows
from spacy_deberta.heads import MaskedLMHead, masked_lm_loss
from spacy_deberta.tokenizers import Tokenizer, load_tokenizer
from spacy_deberta.training.corpus import read_lines
from spacy_deberta.training.loop import Progress, RatedModule, RunSettings, silence_dropout, train
from spacy_deberta.training.masking import Int64, WordHider
from spacy_deberta.training.upcycling import upcycle_encoder
from spacy_deberta.training.vocabulary import load_old_tokenizer
from spacy_deberta.training.words import WordBatch, WordReader

SHORTEST_LINE = 60  # characters
N_ENDS = 2  # [CLS] and [SEP]


@dataclass(frozen=True, kw_only=True)
class DistillationSettings:
    """How to distil.

    Attributes:
        layers: whose outputs to compare, 0 = the embeddings; None = every second from the last.
        batch_pieces: student's pieces per step.
        longest: most pieces of one text, for teacher and student, or as many as both have positions
            for; longer texts are cut at a word.
        mask_share: share of words hidden from the student.
        lm_weight: weight of the masked-LM loss beside the distillation loss.
        learn_rate: peak rate of the student's layers.
        table_learn_rate: peak rate of its piece table and its masked-LM head.
        bf16: run the models under bfloat16 autocast.
        seed: of the fresh head, the order of the texts and the hidden words.
    """

    layers: tuple[int, ...] | None = None
    batch_pieces: int = 4096
    longest: int = 126
    mask_share: float = 0.15
    lm_weight: float = 0.3
    learn_rate: float = 1e-4
    table_learn_rate: float = 1e-3
    bf16: bool = True
    seed: int = 0


class Distillation:
    """The loss of one step, for `loop.train`.

    Args:
        teacher: stays as it is.
        student: over the new vocabulary, of the same width and depth.
        head: the student's masked-LM head.
        tokenizer: the student's.
        settings: what to compare.
    """

    def __init__(
        self,
        teacher: DebertaEncoder,
        student: DebertaEncoder,
        head: MaskedLMHead,
        tokenizer: Tokenizer,
        settings: DistillationSettings,
    ) -> None:
        self._teacher = teacher.eval()
        self._student = student
        self._head = head
        self._hider = WordHider(tokenizer, settings.mask_share)
        self._settings = settings
        self._layers = settings.layers or range(student.config.num_hidden_layers, 0, -2)
        self._rng = np.random.default_rng(settings.seed)

    def loss(self, old: WordBatch, new: WordBatch) -> Tensor:
        """Distance of the words' rows over the layers, plus the masked-LM loss."""
        hidden = self._hider.hide(new.pieces, self._rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._settings.bf16):
            with torch.no_grad():
                targets = self._states(self._teacher, old.pieces, old)
            states = self._states(self._student, hidden.pieces, new)
            rows = states[-1].index_select(0, torch.from_numpy(hidden.targets))
            logits = self._head(rows, self._student.embeddings.pieces.weight)
        distances = [
            word_distance(states[layer], new, targets[layer], old) for layer in self._layers
        ]
        distance = torch.stack(distances).mean()
        return distance + self._settings.lm_weight * masked_lm_loss(
            logits, torch.from_numpy(hidden.labels)
        )

    def _states(
        self, encoder: DebertaEncoder, pieces: Int64, batch: WordBatch
    ) -> tuple[Tensor, ...]:
        output = encoder(torch.from_numpy(pieces), batch.lengths, hidden_states=True)
        assert output.hidden_states is not None
        states: tuple[Tensor, ...] = output.hidden_states
        return states


def word_distance(ours: Tensor, new: WordBatch, theirs: Tensor, old: WordBatch) -> Tensor:
    """Squared distance of the words' mean rows, over the variance of the teacher's; a scalar.

    Args:
        ours: (N, width) rows of the student's pieces.
        new: the student's batch.
        theirs: (O, width) rows of the teacher's pieces.
        old: the teacher's batch.
    """
    wanted = _word_rows(theirs.float(), old)
    shared = torch.from_numpy((new.rows_per_word > 0) & (old.rows_per_word > 0))
    difference = (_word_rows(ours.float(), new) - wanted)[shared]
    return difference.pow(2).mean() / wanted[shared].var()


def _word_rows(rows: Tensor, batch: WordBatch) -> Tensor:
    sizes = torch.from_numpy(batch.rows_per_word)
    return pool_rows(rows, torch.from_numpy(batch.rows), sizes, "mean")


@dataclass(frozen=True, eq=False)
class UpcycledPair:
    """A teacher, and the student that `upcycle` made of it, as read from their folders.

    Attributes:
        teacher: computes what the BERT-like encoder does.
        student: without dropout; its config still has the one to fine-tune with.
        head: the student's masked-LM head.
        tokenizer: the student's.
        reader: texts to batches for both.
    """

    teacher: DebertaEncoder
    student: DebertaEncoder
    head: MaskedLMHead
    tokenizer: Tokenizer
    reader: WordReader

    @classmethod
    def open(cls, source: Path, start: Path, settings: DistillationSettings) -> UpcycledPair:
        """Read both folders; a masked-LM head in START is trained on."""
        student = load_encoder(start)
        silence_dropout(student)
        torch.manual_seed(settings.seed)
        tokenizer = load_tokenizer(start)
        teacher = upcycle_encoder(source)
        rooms = [model.config.max_position_embeddings - N_ENDS for model in (teacher, student)]
        longest = min(settings.longest, *rooms)
        reader = WordReader(load_old_tokenizer(source), tokenizer, longest)
        has_head = "mlm" in open_checkpoint(start).heads
        head = load_masked_lm_head(start, student) if has_head else MaskedLMHead(student.config)
        return cls(teacher, student, head, tokenizer, reader)

    def train(
        self, texts: Sequence[str], run: RunSettings, settings: DistillationSettings
    ) -> Iterator[Progress]:
        """Train the student, its piece table and head ten times as fast as its layers."""
        distillation = Distillation(self.teacher, self.student, self.head, self.tokenizer, settings)
        batches = self.reader.batches(texts, settings.batch_pieces, settings.seed)

        def objective(step: int) -> tuple[Tensor, int]:
            old, new = next(batches)
            return distillation.loss(old, new), len(new.pieces)

        fresh = nn.ModuleList([self.student.embeddings.pieces, self.head])
        parts = [
            RatedModule(fresh, settings.table_learn_rate),
            RatedModule(self.student, settings.learn_rate),
        ]
        yield from train(parts, objective, run)

    def save(self, folder: Path) -> None:
        """Write student, head and tokenizer as a checkpoint folder in fp16."""
        save_encoder(self.student, folder, head=self.head, dtype=torch.float16)
        self.tokenizer.save(folder)


def sample_lines(files: Sequence[Path], share: float, seed: int) -> list[str]:
    """A share of the lines of text files, those too short to learn from left out."""
    rng = np.random.default_rng(seed)
    lines = (line for line in read_lines(files) if len(line) >= SHORTEST_LINE)
    return [line for line in lines if rng.random() < share]
