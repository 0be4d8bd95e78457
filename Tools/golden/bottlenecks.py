#!/usr/bin/env python3
"""Writes Tests/TransformerTests/Golden/bottlenecks: for tiny models of families.py whose blocks end with a norm, and each
place of AdapterHub's bottlenecks, a folder with an adapter as `adapters` writes it, with its head, and `expected`: what
PyTorch computes with it in float64 on the golden samples: logits, loss and the gradient of every tensor that is trained.

usage: bottlenecks.py
Needs torch and safetensors, and adapters 1.3.0 with the transformers that it asks for (Tools/reference/adapterhub.py).
"""
import json
import pathlib
import shutil

import adapters
import torch
import transformers
from safetensors.torch import save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "Tests" / "TransformerTests" / "Golden"
# The tasks are those of families.py.
MODELS = {"bert": ("SequenceClassification", ["seq_bn", "double_seq_bn", "par_bn"]),
          "distilbert": ("TokenClassification", ["seq_bn", "double_seq_bn"]),
          "roberta": ("SequenceClassification", ["seq_bn"]), "xlm-roberta": ("TokenClassification", ["double_seq_bn"])}


def labels_of(index, ids, task):
    if task == "SequenceClassification":
        return torch.tensor([index % 3])
    return torch.where(ids % 4 == 3, -100, ids % 3)


def write(name, task, kind):
    torch.manual_seed(sum((name + kind).encode()))
    auto = getattr(transformers, f"AutoModelFor{task}")
    model = auto.from_pretrained(GOLDEN / name, dtype=torch.float32, attn_implementation="eager")
    adapters.init(model)
    model.add_adapter("tiny", config=f"{kind}[reduction_factor=8]")
    model.train_adapter("tiny")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.2)
    folder = GOLDEN / "bottlenecks" / f"{name}-{kind}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model.save_adapter(folder, "tiny", with_head=True, use_safetensors=True)
    for file in folder.glob("*_config.json"):
        # Without the path of this machine.
        told = json.loads(file.read_text()) | {"model_name": name}
        file.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")

    model = model.double().eval()
    samples = [torch.tensor(ids).clamp(min=2) for ids in json.loads((GOLDEN / "samples.json").read_text())["tokens"]]
    logits, total, count = [], 0, 0
    for index, ids in enumerate(samples):
        found = model(input_ids=ids[None]).logits.flatten(0, -2)
        wanted = labels_of(index, ids, task)
        logits.append(found[wanted != -100])
        total = total + torch.nn.functional.cross_entropy(found, wanted, ignore_index=-100, reduction="sum")
        count += int((wanted != -100).sum())
    loss = total / count
    loss.backward()
    expected = {key if ".adapters." in key else f"base_model.model.{key}": parameter.grad.float()
                for key, parameter in model.named_parameters() if parameter.grad is not None}
    print(f"{name}, {kind}: loss {loss.item():.5f}, {len(expected)} gradients")
    save_file(expected | {"logits": torch.cat(logits).detach().float(), "loss": loss.detach().float().reshape(1)},
              folder / "expected")


if __name__ == "__main__":
    for name, (task, kinds) in MODELS.items():
        for kind in kinds:
            write(name, task, kind)
