"""Items to records: encoded, run in batches through the model, decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from pipelines.batching import Row, blocks, collate
from pipelines.running import check_finite, first_broken, run_batches
from pipelines.steps import In, Item, Rec, TaskSteps
from pipelines.stream import ItemError, is_item_error
from spacy_deberta.config import DebertaConfig
from spacy_deberta.errors import InputError
from spacy_deberta.modeling import DebertaPreTrainedModel

LARGE = 1 << 30  # no limit
AHEAD = 8  # batches' worth of pieces that are encoded before they are sorted by length


class Engine(TaskSteps[In, Item, Rec]):
    """A model that runs the rows of items.

    Attributes:
        model: in eval mode.
        config: its shape and labels.
        batch_pieces: pieces of a batch.
        batch_size: most rows of a batch.
    """

    model: DebertaPreTrainedModel
    config: DebertaConfig
    batch_pieces: int
    batch_size: int

    def run_items(self, items: Sequence[Item], options: Any) -> Iterator[Rec | ItemError]:
        """Records of checked items, in order: encode, run in batches, decode."""
        for item, rows, results in self.run_rows(items, options):
            if isinstance(results, ItemError):
                yield results
                continue
            try:
                yield self.decode(item, rows, results, options)
            except Exception as error:
                if not is_item_error(error):
                    raise
                yield ItemError(error)

    def run_rows(
        self, items: Sequence[Item], options: Any
    ) -> Iterator[tuple[Item, list[Row], list[Any] | ItemError]]:
        """Each item with its rows and the model's results, or why it could not be encoded."""
        encoded = (self._encode(item, options) for item in items)
        sized = ((work, 1 + sum(map(len, work[1]))) for work in encoded)
        for block in blocks(sized, LARGE, AHEAD * self.batch_pieces):
            rows = [row for _, own, _ in block for row in own]
            results = self.run_batches(rows, options)
            start = 0
            for item, own, failed in block:
                stop = start + len(own)
                found, results[start:stop] = results[start:stop], [None] * len(own)
                start = stop
                yield item, own, found if failed is None else failed

    def run_batches(self, rows: Sequence[Row], options: Any) -> list[Any]:
        """Results of rows of any number and length, in their order.

        Raises:
            PipelineError: memory runs out for a single row, or results are not finite.
        """
        with torch.no_grad():
            return run_batches(
                rows,
                lambda batch: self.forward(batch, options),
                self.batch_pieces,
                options.batch_size or self.batch_size,
            )

    def run_model(self, rows: Sequence[Row], **arguments: Any) -> Any:
        """The model's output over the padded rectangle of some rows, checked to be finite.

        Args:
            rows: of one batch.
            arguments: more of the model's forward.

        Raises:
            PipelineError: results are not finite; names the first layer where they are not.
        """
        given = collate(rows, self.config.pad_token_id, self.model.device)
        with torch.no_grad():
            output = self.model(**given, **arguments)
        check_finite(output, lambda: self._first_broken(given))
        return output

    def _first_broken(self, given: dict[str, torch.Tensor]) -> str:
        with torch.no_grad():
            states = self.model(**given, output_hidden_states=True).hidden_states
        return first_broken(states)

    def _encode(self, item: Item, options: Any) -> tuple[Item, list[Row], ItemError | None]:
        try:
            rows = self.encode(item, options)
            self._check_lengths(rows)
            return item, rows, None
        except Exception as error:
            if not is_item_error(error):
                raise
            return item, [], ItemError(error)

    def _check_lengths(self, rows: Sequence[Row]) -> None:
        """Refuse rows that the model has no positions for: hf_compat and own lengths make them."""
        config, longest = self.config, max(map(len, rows), default=0)
        if config.position_biased_input and longest > config.max_position_embeddings:
            raise InputError(
                f"found {longest} pieces in a row, expected at most "
                f"{config.max_position_embeddings}: this model adds absolute positions to its "
                "input. Give a smaller max_length (max_seq_len), with hf_compat also truncation."
            )
