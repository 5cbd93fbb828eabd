"""Toy runs in a process of their own, for tests that kill them.

python toy_worker.py run OUT          one run, in as many processes as torchrun's variables say
python toy_worker.py kill OUT SEED N  runs that are killed at random moments, then one to the end
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[3]))

from spacy_deberta.training.pretraining.distributed import join_group
from spacy_deberta.training.pretraining.signals import StopRequest
from tests.training.pretraining.toy import ToyObjective, toy_run, toy_settings, toy_trainer

CHANGES = {"run__steps": 30, "run__checkpoint_steps": 2}


def run(out: Path) -> None:
    """Of two processes the second may be told to die in its third step."""
    group = join_group("cpu", timeout_seconds=20.0)
    dies = os.environ.get("DIES") == str(group.rank)

    def trouble(call: int) -> float:
        if dies and call == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return 1.0

    objective = ToyObjective(trouble, dropout=0.0)
    trainer, _ = toy_trainer(toy_settings(out, **CHANGES), objective, group)
    with StopRequest() as stop:
        trainer.run(stop)
    group.close()


def kill(out: Path, seed: int, n_kills: int) -> None:
    """Fork, so that torch is imported once."""
    rng = random.Random(seed)
    for _ in range(n_kills):
        child = os.fork()
        if child == 0:
            toy_run(out, **CHANGES)
            os._exit(0)
        time.sleep(rng.uniform(0.005, 0.35))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        sys.stdout.write("killed\n" if os.WIFSIGNALED(status) else "ended\n")
        sys.stdout.flush()  # or a fork writes it again
    toy_run(out, **CHANGES)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "kill":
        kill(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        run(Path(sys.argv[2]))
