"""Opens a weight store the way its format says, and gives the model with float32 weights.

Shared by the scripts in this folder. Every stored code is turned into float32 by the format's own formula, and no
value passes through bfloat16 or float16, so that a difference to these results is a difference of arithmetic only.
"""
import json
import pathlib

import torch
from safetensors import safe_open
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D


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
    """The store's weights as float32, under their names in the store, and the names of those that were stored as codes.

    Codes lie row by row as `[out, in]` whatever the model's class keeps: bitsandbytes transposes a Conv1D before it
    quantises it. Floating-point tensors lie as the model's class keeps them.
    """
    tensors, weights, coded = tensors_of(store), {}, set()
    for name, value in tensors.items():
        if name.endswith(".weight_packed"):
            base = name.removesuffix(".weight_packed")
            weights[base + ".weight"] = packed_int4_to_float(tensors, base)
            coded.add(base + ".weight")
        elif name.endswith(".weight") and any(k.startswith(name + ".quant_state.") for k in tensors):
            weights[name] = nf4_to_float(tensors, name)
            coded.add(name)
        elif name.endswith(".weight") and value.dtype == torch.int8:
            weights[name] = value.float() * tensors[name + "_scale"].float()
            coded.add(name)
        elif name.endswith((".weight", ".bias")) and value.is_floating_point():
            weights[name] = value.float()
    return weights, coded


# Beginnings of names in files, and what the class calls them: GPT-NeoX's head, the text part of Gemma 3 with images,
# and the first files of GPT-2 and OPT, which were saved without the head's class.
RENAMED = (("embed_out.", "lm_head."), ("language_model.model.", "model.language_model."),
           ("language_model.lm_head.", "lm_head."), ("", "transformer."), ("", "model."))


def name_in(names, name):
    """What the model whose parameters are called `names` calls a tensor of a file."""
    candidates = [name] + [new + name[len(old):] for old, new in RENAMED if name.startswith(old)]
    return next((candidate for candidate in candidates if candidate in names), name)


def load_model(store):
    """The store as a transformers model whose parameters are float32, without the dropout of training.

    Of a model with images only the text part has to be there.
    """
    config = AutoConfig.from_pretrained(store)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = torch.float32
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    names, (weights, coded) = set(model.state_dict()), float_weights(store)
    placed = {}
    for name, value in weights.items():
        place = name_in(names, name)
        transposed = name in coded and isinstance(model.get_submodule(place.rpartition(".")[0]), Conv1D)
        placed[place] = value.T if transposed else value
    missing, unexpected = model.load_state_dict(placed, strict=False)
    missing = [name for name in missing if "vision_tower" not in name and "multi_modal_projector" not in name]
    unexpected = [name for name in unexpected if not name.endswith(("attn.bias", "attention.bias", "masked_bias"))]
    if config.tie_word_embeddings:
        missing = [name for name in missing if name != "lm_head.weight"]
        model.tie_weights()
    if missing or unexpected:
        raise SystemExit(f"{store}: missing {missing[:5]}, unexpected {unexpected[:5]}")
    return model.eval()


class DoublePrecision(TorchFunctionMode):
    """Keeps float64 where a model's code asks for float32, as norms and softmax do: the truth without that rounding."""

    def __torch_function__(self, function, types, arguments=(), options=None):
        options = dict(options or {})
        if function is torch.Tensor.float and arguments[0].dtype == torch.int64:
            return arguments[0].double()  # positions, which meet what is float64
        if arguments and isinstance(arguments[0], torch.Tensor) and arguments[0].dtype == torch.float64:
            if function is torch.Tensor.float:
                return arguments[0]
            if function is torch.Tensor.to:
                arguments = tuple(torch.float64 if word is torch.float32 else word for word in arguments)
            if options.get("dtype") is torch.float32:
                options["dtype"] = torch.float64
        return function(*arguments, **options)


def logits_in_double(model, blocks):
    """Logits `[tokens, vocabulary]` of each block in float64 arithmetic; the model is float64 afterwards."""
    model = model.double().eval()
    with torch.no_grad(), DoublePrecision():
        return [model(input_ids=ids[None]).logits[0] for ids, _ in blocks]


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
    """Mean cross-entropy per predicted token over blocks of any lengths, each block a sequence of its own. Behind rows
    that a prompt has put in front of it the first token is predicted as well."""
    total, count = 0.0, 0
    for ids, labels in blocks:
        logits = model(input_ids=ids[None]).logits[0]
        virtual = len(logits) - len(ids)
        logits, wanted = logits[max(virtual - 1, 0):-1], labels if virtual else labels[1:]
        total = total + torch.nn.functional.cross_entropy(logits, wanted, ignore_index=-100, reduction="sum")
        count += int((wanted != -100).sum())
    return total / max(count, 1), count
