"""Opens a weight store the way its format says, and gives the model with float32 weights.

Shared by the scripts in this folder. Every stored code is turned into float32 by the format's own formula, and no
value passes through bfloat16 or float16, so that a difference to these results is a difference of arithmetic only.
"""
import json
import pathlib

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM


def tensors_of(store):
    """All tensors of a store's safetensors files, by name."""
    folder = pathlib.Path(store)
    index = folder / "model.safetensors.index.json"
    if index.exists():
        files = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    else:
        files = sorted(p.name for p in folder.glob("*.safetensors") if not p.name.startswith("adapter"))
    if not files:
        raise SystemExit(f"{store}: holds no safetensors file")
    found = {}
    for name in files:
        with safe_open(folder / name, framework="pt") as file:
            for key in file.keys():
                found[key] = file.get_tensor(key)
    return found


def nf4_to_float(tensors, name):
    """bitsandbytes 4-bit serialisation: nibbles (high one first) into quant_map, times the block's absmax."""
    import bitsandbytes.functional as functional

    parts = {key[len(name) + 1:]: value for key, value in tensors.items() if key.startswith(name + ".")}
    state = next(key for key in parts if key.startswith("quant_state.bitsandbytes__"))
    told = json.loads(bytes(parts[state].tolist()))
    codebook = parts["quant_map"].float()
    absmax = parts["absmax"]
    if "nested_absmax" in parts:
        nested = functional.QuantState(absmax=parts["nested_absmax"].float(), code=parts["nested_quant_map"].float(),
                                       blocksize=told["nested_blocksize"], dtype=torch.float32)
        absmax = functional.dequantize_blockwise(absmax, nested) + told["nested_offset"]
    packed = tensors[name].flatten().view(torch.uint8)  # `bnb_4bit_quant_storage` may call the bytes another type
    codes = torch.stack([packed >> 4, packed & 15], dim=1).flatten().long()
    blocks = absmax.float().repeat_interleave(told["blocksize"])[: codes.numel()]
    return (codebook[codes] * blocks).reshape(told["shape"])


def packed_int4_to_float(tensors, base):
    """compressed-tensors `pack-quantized`: eight codes in an int32, lowest nibble first, code minus 8, times scale."""
    packed = tensors[base + ".weight_packed"]
    rows, columns = tensors[base + ".weight_shape"].tolist()
    shifts = torch.arange(0, 32, 4, dtype=torch.int32)
    codes = ((packed.unsqueeze(-1) >> shifts) & 15).reshape(rows, -1)[:, :columns].float() - 8
    scales = tensors[base + ".weight_scale"].float()
    return codes * scales.repeat_interleave(columns // scales.shape[1], dim=1)


def float_weights(store):
    """The store's weights as float32, under the names of an unquantised checkpoint."""
    tensors, weights = tensors_of(store), {}
    for name, value in tensors.items():
        if name.endswith(".weight_packed"):
            base = name.removesuffix(".weight_packed")
            weights[base + ".weight"] = packed_int4_to_float(tensors, base)
        elif name.endswith(".weight") and any(k.startswith(name + ".quant_state.") for k in tensors):
            weights[name] = nf4_to_float(tensors, name)
        elif name.endswith(".weight") and value.dtype == torch.int8:
            weights[name] = value.float() * tensors[name + "_scale"].float()
        elif name.endswith((".weight", ".bias")) and value.is_floating_point():
            weights[name] = value.float()
    return weights


def load_model(store):
    """The store as a transformers model whose parameters are float32, without the dropout of training."""
    config = AutoConfig.from_pretrained(store)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = torch.float32
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    missing, unexpected = model.load_state_dict(float_weights(store), strict=False)
    if config.tie_word_embeddings:
        missing = [name for name in missing if name != "lm_head.weight"]
        model.tie_weights()
    if missing or unexpected:
        raise SystemExit(f"{store}: missing {missing[:5]}, unexpected {unexpected[:5]}")
    return model.eval()


def load_with_adapter(store, adapter):
    """The float32 model of a store with a PEFT adapter folder on it, ready for training."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(load_model(store), adapter, is_trainable=True)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def adapter_tensors(model, of=lambda parameter: parameter.data):
    """A value for each trainable parameter under the key that PEFT's adapter files use."""
    return {name.replace(".default.weight", ".weight"): of(parameter).detach().clone().contiguous()
            for name, parameter in model.named_parameters() if parameter.requires_grad}


def read_blocks(path):
    """The `input_ids` (and `labels`, else the same) of a JSONL file: a list of pairs of LongTensors."""
    blocks = []
    with open(path, encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            fields = json.loads(text)
            if "input_ids" not in fields:
                raise SystemExit(f"{path}:{number}: no input_ids; make the file with make_blocks.py")
            ids = torch.tensor(fields["input_ids"], dtype=torch.long)
            blocks.append((ids, torch.tensor(fields.get("labels", fields["input_ids"]), dtype=torch.long)))
    if not blocks:
        raise SystemExit(f"{path}: holds no line")
    return blocks


def mean_loss(model, blocks):
    """Mean cross-entropy per predicted token over blocks of any lengths, each block a sequence of its own."""
    total, count = 0.0, 0
    for ids, labels in blocks:
        logits = model(input_ids=ids[None]).logits[0, :-1]
        wanted = labels[1:]
        total = total + torch.nn.functional.cross_entropy(logits, wanted, ignore_index=-100, reduction="sum")
        count += int((wanted != -100).sum())
    return total / max(count, 1), count
