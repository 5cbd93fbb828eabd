"""Texts with masks, and the score of a chain of pieces worked out by hand."""

import torch

from pipelines.fill_mask import FillMaskPipeline

TEXT = "The capital is [MASK]."
TWO = "[MASK] moved to [MASK]."
LONG = "the old river " * 40 + "[MASK]."


def chain(pipe: FillMaskPipeline, before: list[int], word: list[int], after: list[int]) -> float:
    """log p of a word by hand: as many masks, filled one by one, over pieces that are text."""
    core, total = pipe.tokenizer.core, 0.0
    special = [i for i in range(core.n_pieces) if core.piece(i) in core.added]
    for place, piece in enumerate(word):
        masks = [core.mask_id] * (len(word) - place)
        ids = [core.cls_id, *before, *word[:place], *masks, *after, core.sep_id]
        with torch.no_grad():
            logits = pipe.model(torch.tensor([ids])).logits[0, 1 + len(before) + place]
        logits[special] = -torch.inf
        logits[core.n_pieces :] = -torch.inf
        total += float(logits.log_softmax(-1)[piece])
    return total
