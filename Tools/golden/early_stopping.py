#!/usr/bin/env python3
"""Which evaluation transformers' Trainer takes for the best and where its EarlyStoppingCallback ends a run, for
Tests/TrainingTests/Golden/early-stopping.json. The Trainer is the real one, with checkpoints; only the figures of its
evaluations are given.

Needs torch, transformers, accelerate.
"""
import json
import pathlib
import random
import tempfile

import torch
import transformers
from transformers.trainer_utils import EvalLoopOutput

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "Tests/TrainingTests/Golden/early-stopping.json"


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x, labels=None):
        return {"loss": ((self.weight - x) ** 2).mean()}


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return {"x": torch.tensor([float(index)])}


class Scripted(transformers.Trainer):
    """Says of its evaluations what it is given."""
    figures = None
    name = None

    def evaluation_loop(self, *arguments, **keywords):
        value = self.figures[self.state.global_step - 1]
        return EvalLoopOutput(None, None, {self.name: value}, 4)


def run(figures, metric, greater, patience, threshold):
    with tempfile.TemporaryDirectory() as folder:
        trainer = Scripted(
            model=Model(), train_dataset=Rows(), eval_dataset=Rows(),
            args=transformers.TrainingArguments(
                folder, max_steps=len(figures), eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=1,
                save_total_limit=2, load_best_model_at_end=True, metric_for_best_model=metric, greater_is_better=greater,
                per_device_train_batch_size=1, report_to="none", disable_tqdm=True, use_cpu=True, logging_strategy="no"),
            callbacks=[] if patience is None else [transformers.EarlyStoppingCallback(patience, threshold)])
        trainer.figures, trainer.name = figures, f"eval_{metric}"
        trainer.train()
        return {"best": trainer.state.best_global_step, "steps": trainer.state.global_step}


def main():
    random.seed(3)
    transformers.logging.set_verbosity_error()
    cases = []
    for number in range(48):
        greater = number % 3 == 0
        level, figures = 2.0, []
        for _ in range(12):
            # steps of a few sizes, so that ties and steps of just the threshold come up
            level += random.choice([-0.25, -0.125, 0, 0, 0.125, 0.25]) + (0.05 if greater else -0.05) * (number % 2)
            figures.append(level)
        case = {
            "figures": figures, "metric": "accuracy" if greater else "loss", "greater": greater,
            "patience": [None, 1, 2, 3][number % 4], "threshold": [0.0, 0.125, 0.2][number // 4 % 3],
        }
        cases.append(case | run(*(case[key] for key in ("figures", "metric", "greater", "patience", "threshold"))))
    GOLDEN.write_text(json.dumps({"transformers": transformers.__version__, "cases": cases}) + "\n")


main()
