"""Pre-training on text: torch only, so that it runs where only torch and sentencepiece are.

    config file ──> settings.py ──> run.py ─────────────────> trainer.py ──> writer.py
    text ──> tokenized.py ──> data.py ──> Step, one ahead ──────^  ^
    checkpoint or shape ──> models.py, pair.py ──> Objective ──────┘

settings.py      what a run is told; config_file.py reads it
run.py           a run from its settings: folder, data, model, checkpoint to go on from
trainer.py       the loop: gradients of micro-batches, sum over processes, guard, update
writer.py        what the first process does after a step: log, evaluation, checkpoint
schedules.py     rate, share of masks, size of batches and windows, by step or share of the run
updates.py       gradients to weights: clipping, AdamW, running mean
guard.py         losses and gradients that are not finite, losses that jump
counters.py      how far a run is

tokenized.py     text to pieces on disk, once
windows.py       documents to windows of whole sentences
data.py          windows to samples, steps and micro-batches; ahead.py takes them one ahead
masking.py       which words of a sample are hidden; draws.py: random numbers without a state

models.py        what is trained, from random weights or a checkpoint, and back to a folder
objectives.py    what is learned: masked pieces
pair.py, rtd.py  or replaced pieces: generator and discriminator, and their losses
evaluation.py    how well, on held-out text

state.py         checkpoints that survive whatever happens while they are written
resume.py        whether a run may go on from one
lock.py          one run at a time in a folder
signals.py       SIGTERM and SIGINT: finish the step, save, stop
distributed.py   several processes under torchrun
log.py           log, progress line, plot
"""
