"""Learning rates of transformers' schedules, for Tests/TrainingTests/Golden/schedules.json.

    pip install -r Tools/reference/requirements.txt
    python Tools/golden/schedules.py
"""

import json
import pathlib

import torch
import transformers

CASES = [
    ("linear", {}, {}), ("cosine", {}, {}), ("constant_with_warmup", {}, {}), ("inverse_sqrt", {}, {}),
    ("inverse_sqrt", {"timescale": 5}, {"timescale": 5}),
    ("polynomial", {}, {}), ("polynomial", {"power": 2.0, "lr_end": 1e-5}, {"power": 2.0, "lr_end": 1e-5}),
    ("cosine_with_restarts", {"num_cycles": 3}, {"num_cycles": 3}), ("cosine_with_restarts", {}, {}),
    ("cosine_with_min_lr", {"min_lr_rate": 0.1}, {"min_lr_rate": 0.1}),
    ("warmup_stable_decay", {"num_decay_steps": 6}, {"num_decay_steps": 6}),
    ("warmup_stable_decay", {"num_decay_steps": 4, "min_lr_ratio": 0.2}, {"num_decay_steps": 4, "min_lr_ratio": 0.2}),
]

rows = []
for name, ours, theirs in CASES:
    for warmup in (0, 3):
        parameter = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([parameter], lr=2e-4)
        schedule = transformers.get_scheduler(
            name, optimizer, num_warmup_steps=warmup, num_training_steps=20, scheduler_specific_kwargs=theirs)
        rates = []
        for _ in range(22):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        rows.append({"kind": name, "kwargs": ",".join(f"{k}={v}" for k, v in ours.items()), "warmup": warmup, "rates": rates})
path = pathlib.Path(__file__).parents[2] / "Tests/TrainingTests/Golden/schedules.json"
path.parent.mkdir(exist_ok=True)
path.write_text(json.dumps(rows) + "\n")
