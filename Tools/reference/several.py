"""Several adapters at once, judged by PEFT: mixtures of experts, adapters under the one that is trained, and bottlenecks
beside a prefix. Part of Tools/check-methods."""
import json
import pathlib
import shutil

import peft
import torch
from peft.tuners.lora import arrow
from safetensors.torch import load_file, save_file

import store as reference
import train_peft
from compare import Tally

LOGITS, GRADIENTS, STEPS = 1e-4, 2e-4, 0.3
PLAIN = "base_model.model."


def experts(bench, store, count, name="expert", **words):
    """Folders of LoRA adapters with random parameters."""
    folders = []
    for number in range(count):
        torch.manual_seed(40 + number + len(name))
        folder = bench.work / f"{name}-{number}"
        tuned = peft.get_peft_model(reference.load_model(store), peft.LoraConfig(
            lora_alpha=8 + 2 * number, task_type="CAUSAL_LM", base_model_name_or_path="tiny",
            **({"r": 4, "target_modules": "all-linear"} | words)))
        with torch.no_grad():
            for tensor, parameter in tuned.named_parameters():
                if "lora_B" in tensor:
                    parameter.normal_(std=0.05)
        tuned.save_pretrained(folder)
        folders.append(folder)
    return folders


def compare_gradients(bench, check, found, truth):
    if found.keys() != truth.keys():
        bench.record(check, False, "other tensors", detail=str(sorted(found.keys() ^ truth.keys())[:6]))
        return
    each = {name: Tally().add(found[name], truth[name]).relative for name in truth}
    worst = max(each, key=each.get)
    bench.judge(check, each[worst], GRADIENTS, f"worst tensor {worst}")


def compare_losses(bench, check, trained, truth, bar):
    found = [told["loss"] for told in map(json.loads, open(pathlib.Path(trained) / "metrics.jsonl")) if "loss" in told]
    worst = max(100 * abs(a / b["loss"] - 1) for a, b in zip(found, truth, strict=True))
    bench.record(check, worst <= bar, f"{worst:.2e} %", f"{bar} %", f"ours {found[0]} to {found[-1]}")


def logits(model, blocks):
    model = model.double().eval()
    with torch.no_grad(), reference.DoublePrecision():
        return [model(input_ids=ids[None]).logits[0, -len(ids):] for ids, _ in blocks]


def gradients(model, tokens):
    with reference.DoublePrecision():
        reference.mean_loss(model, reference.read_blocks(tokens))[0].backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}


def arrow_model(store, folders, top_k, temperature):
    """PEFT's mixture, whose prototypes can be trained: found by so many rounds that they do not change any more."""
    # PEFT makes the router's layers of the base's type.
    model = arrow.create_arrow_model(
        reference.load_model(store), [str(folder) for folder in folders],
        peft.ArrowConfig(top_k=top_k, router_temperature=temperature, rng_seed=3)).float().eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for module in model.modules():
        for layer in getattr(module, "lora_arrow", {}).values():
            find = layer.top_right_singular_vec_from_BA
            layer.top_right_singular_vec_from_BA = lambda a, b, find=find: find(a.double(), b.double(), iters=3000)
            layer.build_prototypes(module.lora_A, module.lora_B)
            found = layer.prototypes
            del layer.prototypes
            layer.prototypes = torch.nn.Parameter(found.float())
    return model


def prototype_name(name):
    return name.replace(".lora_arrow.arrow_router.prototypes", ".lora_arrow.prototypes")


def check_mixture(bench, store, tokens, rows, top_k=2, temperature=0.7):
    """Arrow's mixture of three experts, and its prototypes trained from there."""
    folders, folder = experts(bench, store, 3), bench.work / "mixture"
    words = ["--expert-top-k", top_k, "--router-temperature", temperature]
    bench.edge("combine", "combine", *[word for one in folders for word in ("--adapter", one)], "--combination-type",
               "arrow", *words, "-o", folder, "--force")
    blocks = reference.read_blocks(tokens)
    model = arrow_model(store, folders, top_k, temperature)
    truth = {prototype_name(name): value.detach() for name, value in model.named_parameters() if "prototypes" in name}
    found = {name: value for name, value in load_file(folder / "adapter_model.safetensors").items()
             if "prototypes" in name}
    # A direction has two signs.
    errors = [1 - (found[name].double() * value.double()).sum(-1).abs().min().item() for name, value in truth.items()]
    bench.judge("prototypes", max(errors) if found.keys() == truth.keys() else float("nan"), 1e-5)
    bench.compare_logits("the mixture as PEFT's", bench.logits("mixture", store, tokens, folder), logits(model, blocks),
                         LOGITS)

    model = arrow_model(store, folders, top_k, temperature).double()
    # The signs of the directions are ours, or the gradients would have others.
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "prototypes" in name:
                value.copy_(found[prototype_name(name)])
    start = {name: value.detach().clone() for name, value in model.named_parameters() if "prototypes" in name}
    compare_gradients(bench, "f32 gradients", bench.gradient("f32 gradients", store, tokens, folder, "f32"),
                      {prototype_name(name): value for name, value in gradients(model, tokens).items()})
    model = model.float()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name in start:
                value.grad = None
                value.copy_(start[name])
    told = list(train_peft.train(model, reference.read_blocks(rows), 20, 4, 2e-2))
    for precision, bar in (("f32", STEPS), ("int8", 1)):
        trained = bench.train(
            f"20 steps in {precision}", store, rows, bench.work / f"mixture-{precision}", "--method", "mixture",
            *[word for one in folders for word in ("--expert", one)], *words, "--micro-batch-size", 4, "--max-steps",
            20, "--learning-rate", 2e-2, "--precision", precision)
        compare_losses(bench, f"20 steps in {precision}", trained, told, bar)
    bench.compare_logits("the trained mixture as PEFT's",
                         bench.logits("trained", store, tokens, bench.work / "mixture-f32"), logits(model, blocks), 1e-3)


def stacked(store, below, above):
    """PEFT with two adapters that are both active, of which the second is trained."""
    model = peft.PeftModel.from_pretrained(reference.load_model(store), below, adapter_name="below")
    model.load_adapter(above, adapter_name="above")
    model.base_model.set_adapter(["below", "above"])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".above." in name)
    return model.float().eval()


def check_frozen(bench, store, tokens, rows):
    """An adapter that is trained on top of another one, which stays as it is."""
    below = experts(bench, store, 1)[0]
    # It covers fewer layers, and has another rank.
    above = experts(bench, store, 1, "above", r=3, layers_to_transform=[1], target_modules=bench.some_layers)[0]
    blocks = reference.read_blocks(tokens)
    model = stacked(store, below, above)
    words = ["--init-adapter", above, "--freeze-adapter", below]
    bench.edge("logits", "combine", "--adapter", below, "--adapter", above, "--combination-type", "cat", "-o",
               bench.work / "sum", "--force")
    bench.compare_logits("both adapters", bench.logits("both", store, tokens, bench.work / "sum"), logits(model, blocks),
                         LOGITS)
    output = bench.work / "gradient-frozen.safetensors"
    bench.train("f32 gradients", store, tokens, bench.work / "unused", *words, "--micro-batch-size", len(blocks),
                "--precision", "f32", "--dump-gradients", output)
    found = {name: value for name, value in load_file(output).items() if name != "loss"}
    compare_gradients(bench, "f32 gradients", found, {
        name.replace(".above.weight", ".weight"): value for name, value in gradients(model.double(), tokens).items()})
    told = list(train_peft.train(stacked(store, below, above), reference.read_blocks(rows), 20, 4, 2e-3))
    for precision, bar in (("f32", STEPS), ("int8", 1)):
        trained = bench.train(f"20 steps in {precision}", store, rows, bench.work / f"frozen-{precision}", *words,
                              "--micro-batch-size", 4, "--max-steps", 20, "--learning-rate", 2e-3, "--precision",
                              precision)
        compare_losses(bench, f"20 steps in {precision}", trained, told, bar)


def join_bottlenecks(folders, joined):
    """One folder, as edge-lora has it, of a serial and a parallel bottleneck of AdapterHub's."""
    serial, parallel = map(pathlib.Path, folders)
    shutil.rmtree(joined, ignore_errors=True)
    shutil.copytree(serial, joined)
    shutil.copy(parallel / "adapter.safetensors", joined / "parallel_adapter.safetensors")
    told = [json.loads((folder / "adapter_config.json").read_text()) for folder in (serial, parallel)]
    (joined / "adapter_config.json").write_text(json.dumps(told[0] | {"parallel_adapter": told[1]}))
    return joined


def split_bottlenecks(joined):
    """The other way."""
    folders = [joined.with_name(f"{joined.name}-{part}") for part in ("serial", "parallel")]
    told = json.loads((joined / "adapter_config.json").read_text())
    for folder, name, config in zip(folders, ("adapter.safetensors", "parallel_adapter.safetensors"),
                                    (told, told.pop("parallel_adapter"))):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shutil.copy(joined / name, folder / "adapter.safetensors")
        if (joined / "adapter_interface.json").exists():
            shutil.copy(joined / "adapter_interface.json", folder)
        (folder / "adapter_config.json").write_text(json.dumps(config))
    return folders


class Bottleneck(torch.nn.Module):
    """What AdapterHub's `seq_bn` and `par_bn` add to the output of a decoder's layer."""
    def __init__(self, tensors, prefix, scaling):
        super().__init__()
        self.down, self.down_bias = [torch.nn.Parameter(tensors[f"{prefix}adapter_down.0.{part}"])
                                     for part in ("weight", "bias")]
        self.up, self.up_bias = [torch.nn.Parameter(tensors[f"{prefix}adapter_up.{part}"]) for part in ("weight", "bias")]
        self.scaling = scaling

    def forward(self, x):
        inner = torch.relu(torch.nn.functional.linear(x, self.down, self.down_bias))
        return self.scaling * torch.nn.functional.linear(inner, self.up, self.up_bias)


def number_of(name):
    """Of the layer that a tensor is of."""
    return int(next(part for part in name.split(".") if part.isdigit()))


def hook(model, layers, folder):
    """Puts a folder's bottlenecks into a decoder: a serial one reads the output of a layer, a parallel one what the norm before
    feed-forward reads, and both add to the layer's output.

    Returns them by the beginning of their tensors' names.
    """
    told, found = json.loads((folder / "adapter_config.json").read_text()), torch.nn.ModuleDict()
    reads = {}
    for name, config in (("adapter.safetensors", told), ("parallel_adapter.safetensors", told.get("parallel_adapter"))):
        if config is None:
            continue
        config, tensors = config["config"], load_file(folder / name)
        for prefix in sorted({name.rsplit("adapter_", 1)[0] for name in tensors}):
            made = Bottleneck(tensors, prefix, config["scaling"])
            found[prefix.replace(".", "/")] = made
            reads.setdefault(number_of(prefix), []).append((made, config["is_parallel"]))
    for number, here in reads.items():
        layer, seen = layers[number], {}

        def keep(module, given, seen=seen):
            seen["input"] = given[0]

        def add(module, given, output, here=here, seen=seen):
            states = output[0] if isinstance(output, tuple) else output
            states = states + sum(made(seen["input"] if is_parallel else states) for made, is_parallel in here)
            return (states, *output[1:]) if isinstance(output, tuple) else states

        (layer.ln_2 if hasattr(layer, "ln_2") else layer.post_attention_layernorm).register_forward_pre_hook(keep)
        layer.register_forward_hook(add)
    return found


def joined(store, folder, load):
    """PEFT with a prefix, and bottlenecks at layers. PEFT has prefixes in all layers or none: in those that are left out the
    prefix is masked."""
    folder = pathlib.Path(folder)
    told = json.loads((folder / "adapter_config.json").read_text())
    absent = told.get("leave_out", [])
    if absent:
        whole = folder.with_name(folder.name + "-whole")
        shutil.rmtree(whole, ignore_errors=True)
        shutil.copytree(folder, whole)
        prompt = load_file(folder / "adapter_model.safetensors")["prompt_embeddings"]
        width = 2 * told["token_dim"]
        count, parts = told["num_layers"] + len(absent), iter(prompt.split(width, dim=1))
        columns = [torch.zeros(len(prompt), width) if layer in absent else next(parts) for layer in range(count)]
        save_file({"prompt_embeddings": torch.cat(columns, dim=1).contiguous()}, whole / "adapter_model.safetensors")
        (whole / "adapter_config.json").write_text(json.dumps(told | {"num_layers": count}))
        model = load(store, whole)
    else:
        model = load(store, folder)
    layers = model.base_model.model.layers if hasattr(model.base_model, "model") else model.base_model.transformer.h

    def mask(module, given, named):
        named["attention_mask"] = named["attention_mask"].clone()
        named["attention_mask"][..., :told["num_virtual_tokens"]] = torch.finfo(named["attention_mask"].dtype).min
        return given, named

    for layer in absent:
        attention = layers[layer].attn if hasattr(layers[layer], "attn") else layers[layer].self_attn
        attention.register_forward_pre_hook(mask, with_kwargs=True)
    model.bottlenecks = hook(model, layers, folder)
    return model.eval()


# Several methods at once.
JOINED = {
    "both methods": ["--method", "bottleneck+prefix_tuning", "--num-virtual-tokens", 3, "--reduction-factor", 6],
    "all three": ["--method", "bottleneck+prefix_tuning", "--adapter-config", "seq_bn+par_bn", "--num-virtual-tokens", 3,
                  "--reduction-factor", 6, "--parallel-reduction-factor", 4],
    "all three in some layers": ["--method", "bottleneck+prefix_tuning", "--adapter-config", "seq_bn+par_bn",
                                 "--num-virtual-tokens", 3, "--reduction-factor", 4, "--parallel-reduction-factor", 8,
                                 "--adapter-off", 0],
}


def check_joined(bench, store, tokens, rows, load):
    """Bottlenecks and a prefix that are trained together."""
    for title, words in JOINED.items():
        check_joined_as(bench, store, tokens, rows, load, title, words)


def check_joined_as(bench, store, tokens, rows, load, title, words):
    begin = bench.train("a start", store, rows, bench.work / "joined", *words, "--max-steps", 3, "--learning-rate", 2e-2)
    blocks = reference.read_blocks(tokens)
    model = joined(store, begin, load)
    bench.compare_logits(title, bench.logits(title, store, tokens, begin), logits(model, blocks), LOGITS)
    absent = json.loads((begin / "adapter_config.json").read_text()).get("leave_out", [])

    def here(name, value):
        if "bottlenecks." not in name:
            return "prompt_embeddings", value
        prefix, part = name.split("bottlenecks.")[1].rsplit(".", 1)
        kind = {"down": "adapter_down.0.weight", "down_bias": "adapter_down.0.bias", "up": "adapter_up.weight",
                "up_bias": "adapter_up.bias"}[part]
        return prefix.replace("/", ".") + kind, value

    truth = dict(here(name, value) for name, value in gradients(model.double(), tokens).items())
    if absent:
        found, width = truth["prompt_embeddings"], 2 * json.loads((begin / "adapter_config.json").read_text())["token_dim"]
        parts = found.split(width, dim=1)
        bench.record(f"{title}: layers without a prefix have none", not any(parts[layer].any() for layer in absent))
        truth["prompt_embeddings"] = torch.cat([part for layer, part in enumerate(parts) if layer not in absent], dim=1)
    compare_gradients(bench, f"{title}: f32 gradients", bench.gradient("f32 gradients", store, tokens, begin, "f32"), truth)
    told = list(train_peft.train(joined(store, begin, load), reference.read_blocks(rows), 20, 4, 2e-3))
    for precision, bar in (("f32", STEPS), ("int8", 1)):
        trained = bench.train(f"20 steps in {precision}", store, rows, bench.work / f"joined-{precision}",
                              "--init-adapter", begin, "--micro-batch-size", 4, "--max-steps", 20, "--learning-rate",
                              2e-3, "--precision", precision)
        compare_losses(bench, f"{title}: 20 steps in {precision}", trained, told, bar)
