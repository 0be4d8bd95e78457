#!/usr/bin/env python3
"""Writes Tests/TransformerTests/Golden/bottlenecks: for tiny models of families.py whose blocks end with a norm or
stand side by side, and each place of AdapterHub's bottlenecks, a folder with an adapter as `adapters` writes it, with its head
if that has labels, and `expected`: what PyTorch computes with it in float64 on the golden samples: logits, loss and the
gradient of every tensor that is trained.

usage: bottlenecks.py [MODEL ...]
Needs torch and safetensors, and adapters 1.3.0 with the transformers that it asks for (Tools/reference/adapterhub.py).
"""
import json
import pathlib
import shutil
import sys
import tempfile

import adapters
import torch
import transformers
from safetensors.torch import save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tools/reference"))
import adapterhub  # puts two bottlenecks at one place side by side
import several
import store as reference

GOLDEN = ROOT / "Tests" / "TransformerTests" / "Golden"
# The tasks are those of families.py.
MODELS = {"bert": ("SequenceClassification", ["seq_bn", "double_seq_bn", "par_bn", "seq_bn+par_bn"]),
          "distilbert": ("TokenClassification", ["seq_bn", "double_seq_bn", "double_seq_bn+par_bn"]),
          "roberta": ("SequenceClassification", ["seq_bn"]), "xlm-roberta": ("TokenClassification", ["double_seq_bn"]),
          "gemma3": ("CausalLM", ["seq_bn", "double_seq_bn", "par_bn", "double_seq_bn+par_bn"]),
          "neox": ("CausalLM", ["seq_bn", "double_seq_bn", "par_bn", "seq_bn+par_bn"]), "qwen3": ("CausalLM", ["seq_bn"])}


def labels_of(index, ids, task):
    if task == "SequenceClassification":
        return torch.tensor([index % 3])
    return torch.where(ids % 4 == 3, -100, ids % 3)


def write(model_name, task, kind):
    torch.manual_seed(sum((model_name + kind).encode()))
    auto = getattr(transformers, f"AutoModelFor{task}")
    model = auto.from_pretrained(GOLDEN / model_name, dtype=torch.float32, attn_implementation="eager")
    adapterhub.init(model)
    has_labels = task != "CausalLM"
    names = [name for name, _ in zip((adapterhub.NAME, adapterhub.SECOND), kind.split("+"))]
    for name, part, factor in zip(names, kind.split("+"), (8, 4)):
        model.add_adapter(name, config=f"{part}[reduction_factor={factor}]")
    model.train_adapter(adapters.composition.Stack(*names))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.2)
    folder = GOLDEN / "bottlenecks" / f"{model_name}-{kind}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model.save_adapter(folder, names[0], with_head=has_labels, use_safetensors=True)
    if len(names) > 1:
        with tempfile.TemporaryDirectory() as work:
            second = pathlib.Path(work) / "second"
            model.save_adapter(second, names[1], with_head=False, use_safetensors=True)
            both = several.join_bottlenecks([folder, second], pathlib.Path(work) / "both")
            shutil.rmtree(folder)
            shutil.copytree(both, folder)
    for file in folder.glob("*_config.json"):
        # Without the path of this machine.
        told = json.loads(file.read_text()) | {"model_name": model_name}
        if "parallel_adapter" in told:
            told["parallel_adapter"]["model_name"] = model_name
        file.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")

    model = model.double().eval()
    told = {key: list(map(torch.tensor, lists))
            for key, lists in json.loads((GOLDEN / "samples.json").read_text()).items()}
    logits, total, count = [], 0, 0
    for index, (ids, labels) in enumerate(zip(told["tokens"], told["labels"])):
        ids = ids.clamp(min=2) if has_labels else ids
        with reference.DoublePrecision():
            found = model(input_ids=ids[None]).logits.flatten(0, -2)
        if has_labels:
            wanted = labels_of(index, ids, task)
            logits.append(found[wanted != -100])
        else:
            logits.append(found)
            found, wanted = found[:-1], labels[1:]
        total = total + torch.nn.functional.cross_entropy(found, wanted, ignore_index=-100, reduction="sum")
        count += int((wanted != -100).sum())
    loss = total / count
    loss.backward()
    expected = {key if ".adapters." in key else f"base_model.model.{key}": parameter.grad.float()
                for key, parameter in model.named_parameters() if parameter.grad is not None}
    print(f"{model_name}, {kind}: loss {loss.item():.5f}, {len(expected)} gradients")
    save_file(expected | {"logits": torch.cat(logits).detach().float(), "loss": loss.detach().float().reshape(1)},
              folder / "expected")


if __name__ == "__main__":
    for name in sys.argv[1:] or MODELS:
        task, kinds = MODELS[name]
        for kind in kinds:
            write(name, task, kind)
