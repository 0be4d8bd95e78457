"""llama.cpp's own converter and runtime, to compare with.

The converter comes with the source package of llama-cpp-python, which is unpacked beside the work and never committed;
LLAMA_CPP may name a tree of llama.cpp instead. The runtime is the installed package llama-cpp-python.
"""
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import traceback

import families

def tree(work):
    """The folder of llama.cpp's sources."""
    if given := os.environ.get("LLAMA_CPP"):
        return pathlib.Path(given)
    work = pathlib.Path(work)
    if not (found := list(work.glob("llama_cpp_python-*/vendor/llama.cpp"))):
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary",
                        "llama-cpp-python", "--dest", work, "llama-cpp-python"], check=True)
        with tarfile.open(next(work.glob("llama_cpp_python-*.tar.gz"))) as archive:
            archive.extractall(work, [member for member in archive if "/vendor/llama.cpp/conversion/" in member.name
                                      or "/vendor/llama.cpp/gguf-py/" in member.name
                                      or member.name.endswith("/vendor/llama.cpp/convert_lora_to_gguf.py")], filter="data")
        found = list(work.glob("llama_cpp_python-*/vendor/llama.cpp"))
    return found[0]


def convert(sources, model, output, kind="f16", pre="smollm"):
    """Runs the converter on a model folder, in a process of its own: it brings its own `gguf`."""
    log = pathlib.Path(f"{output}.log")
    if not (child := os.fork()):
        try:
            with open(log, "w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            run_converter(sources, pathlib.Path(model), pathlib.Path(output), kind, pre)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError(f"llama.cpp's converter: {log.read_text()[-1500:]}")


def run_converter(sources, folder, output, kind, pre):
    for name in [name for name in sys.modules if name.split(".")[0] == "gguf"]:
        del sys.modules[name]
    sys.path[:0] = [f"{sources}/gguf-py", str(sources)]
    import gguf
    from conversion import ModelBase, ModelType, get_model_architecture, get_model_class
    from conversion.base import TextModel

    if pre:  # a tokenizer that no published model has
        TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
    kinds = {"f32": gguf.LlamaFileType.ALL_F32, "f16": gguf.LlamaFileType.MOSTLY_F16,
             "bf16": gguf.LlamaFileType.MOSTLY_BF16, "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0}
    hparams = ModelBase.load_hparams(folder, False)
    if hparams["model_type"] == "gpt_neox":  # transformers 5 calls it otherwise
        hparams.setdefault("rotary_pct", hparams["rope_parameters"]["partial_rotary_factor"])
    converter = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
    converter(folder, kinds[kind], output, hparams=hparams).write()


def prepare(folder):
    """Adds to a folder of transformers 5 what the converter still wants."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    if config["model_type"] == "gpt2":
        config["n_ctx"] = config["n_positions"]
    path.write_text(json.dumps(config, indent=2) + "\n")
    if config["model_type"] == "phi3":  # else it asks for a SentencePiece model
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": "GPT2Tokenizer"}, indent=2) + "\n")


GATED = families.GATED
CASES = {
    "llama": families.Case("scaled frequencies, grouped queries, a head of its own", "Llama", GATED | {
        "hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 4, "num_key_value_heads": 2,
        "rope_parameters": families.rope("llama3", 500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                         original_max_position_embeddings=64)}),
    "llama-wide": families.Case("wide heads, linear scaling, tied", "Llama", GATED | {
        "hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 6, "num_key_value_heads": 6,
        "head_dim": 32, "tie_word_embeddings": True, "rope_parameters": families.rope("linear", factor=2.5)}),
    "llama-yarn": families.Case("yarn", "Llama", GATED | {
        "hidden_size": 128, "intermediate_size": 192, "num_attention_heads": 4, "num_key_value_heads": 1,
        "rope_parameters": families.rope("yarn", 5000.0, factor=8.0, original_max_position_embeddings=32)}),
    "mistral": families.Case("no window", "Mistral", GATED | {
        "hidden_size": 128, "intermediate_size": 192, "num_attention_heads": 4, "num_key_value_heads": 1,
        "head_dim": 40, "sliding_window": None}),
    "qwen2": families.Case("biases, tied", "Qwen2", GATED | {
        "hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 3, "num_key_value_heads": 1,
        "tie_word_embeddings": True, "rope_parameters": families.rope("default", 1e6)}),
    "qwen3": families.Case("hidden size no multiple of the heads", "Qwen3", GATED | {
        "hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 5, "num_key_value_heads": 1, "head_dim": 32,
        "tie_word_embeddings": True, "rope_parameters": families.rope("default", 1e6)}),
    "qwen3-yarn": families.Case("yarn, a head of its own", "Qwen3", GATED | {
        "hidden_size": 128, "intermediate_size": 192, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 40,
        "rope_parameters": families.rope("yarn", factor=4.0, original_max_position_embeddings=32)}),
    "gemma3": families.Case("window of 6, scaled rope on whole layers", "Gemma3", GATED | {
        "num_hidden_layers": 7, "hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 3,
        "num_key_value_heads": 1, "head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 6, "rope_parameters": {
            "full_attention": families.rope("linear", 1e6, factor=8.0),
            "sliding_attention": families.rope("default", 1e4)}},
        dtype=families.torch.float32),  # of half precision the converter rounds norms once more
    "smollm3": families.Case("every fourth layer without rope", "SmolLM3", GATED | {
        "num_hidden_layers": 5, "hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 3,
        "num_key_value_heads": 1, "no_rope_layer_interval": 4, "tie_word_embeddings": True,
        "rope_parameters": families.rope("default", 5e6)}),
    "phi3": families.Case("as the small ones: plain rope", "Phi3", GATED | {
        "hidden_size": 128, "intermediate_size": 192, "num_attention_heads": 4, "num_key_value_heads": 2,
        "original_max_position_embeddings": 256, "rope_parameters": families.rope(
            "default", 3000.0, partial_rotary_factor=1.0)}, rewrite=families.old_rope),
    "phi3-longrope": families.Case("three quarters of a head turned, longrope past its length, tied", "Phi3", GATED | {
        "hidden_size": 96, "intermediate_size": 160, "num_attention_heads": 3, "num_key_value_heads": 1,
        "original_max_position_embeddings": 40, "tie_word_embeddings": True, "rope_parameters": families.rope(
            "longrope", partial_rotary_factor=0.75, short_factor=families.spread(12, 1.0, 1.8),
            long_factor=families.spread(12, 1.1, 9.0))}, rewrite=families.old_rope),
    "gpt2": families.Case("as published", "GPT2LMHead", {
        "vocab_size": families.VOCABULARY, "n_embd": 96, "n_head": 4, "n_layer": 3, "n_positions": 256}),
    "neox": families.Case("parallel, a quarter of a head turned", "GPTNeoX", {
        "vocab_size": families.VOCABULARY, "hidden_size": 96, "num_attention_heads": 3, "num_hidden_layers": 3,
        "intermediate_size": 160, "max_position_embeddings": 256,
        "rope_parameters": families.rope("default", partial_rotary_factor=0.25)}, rewrite=families.old_neox),
    "neox-sequential": families.Case("one block after the other, whole heads turned", "GPTNeoX", {
        "vocab_size": families.VOCABULARY, "hidden_size": 128, "num_attention_heads": 4, "num_hidden_layers": 3,
        "intermediate_size": 192, "max_position_embeddings": 256, "use_parallel_residual": False,
        "rope_parameters": families.rope("default", partial_rotary_factor=1.0)}, rewrite=families.old_neox),
}


class Runtime:
    """A GGUF file in llama.cpp, with caches in float32."""

    def __init__(self, file, context=256, lora=None, threads=1):
        import llama_cpp

        self.model = llama_cpp.Llama(str(file), n_ctx=context, n_threads=threads, n_threads_batch=threads, verbose=False, type_k=0, type_v=0,
                                     flash_attn=False, logits_all=True, lora_path=lora and str(lora), lora_scale=1.0)

    def greedy(self, ids, count):
        """The likeliest tokens after `ids`, one after the other."""
        self.model.reset()
        found, ids = [], list(ids)
        for _ in range(count):
            self.model.eval(ids)
            ids = [int(self.model.scores[self.model.n_tokens - 1].argmax())]
            found += ids
        return found

    def logits(self, ids):
        self.model.reset()
        self.model.eval(list(ids))
        return self.model.scores[:len(ids)].copy()


def prompt_without_ties(model, likely, count, length=48, tries=12, enough=0.03):
    """A prompt at which transformers' choice of the next tokens is clear, or the clearest of some: prompt, tokens, lead."""
    import torch

    torch.set_num_threads(1)  # the models are tiny
    best = None
    for start in range(tries):
        prompt = [likely[(31 * start + 11 * i * i + 7 * i) % len(likely)] for i in range(length)]
        ids, lead = list(prompt), float("inf")
        with torch.no_grad():
            for _ in range(count):
                top = model(input_ids=torch.tensor([ids])).logits[0, -1].topk(2)
                lead = min(lead, (top.values[0] - top.values[1]).item())
                ids.append(top.indices[0].item())
                if best and lead <= best[2]:
                    break
        if len(ids) == length + count and (not best or lead > best[2]):
            best = (prompt, ids[length:], lead)
            if lead >= enough:
                break
    return best
