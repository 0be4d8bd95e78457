#!/usr/bin/env python3
"""Writes the tiny Llama checkpoint of this folder: text from a grammar, a byte-level BPE, a model trained on the text.

Needs torch, transformers, tokenizers and safetensors. On two cores it takes a few minutes. The text and the tokenizer
are the same bytes everywhere; the weights differ in their last bits between versions of torch. With --text N it prints
N samples of the text and stops.
"""
import argparse
import json
import math
import pathlib
import random
from collections import Counter

HERE = pathlib.Path(__file__).resolve().parent
END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VOCABULARY, HIDDEN, INNER, LAYERS, HEADS, KEY_VALUE_HEADS, POSITIONS = 1024, 128, 256, 4, 4, 2, 512

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")

PEOPLE = "Anna Ben Clara David Emma Felix Grace Henry Ida Jack Karin Leo Mia Noah Olga Paul".split()
ROOMS = ("kitchen,hallway,bedroom,bathroom,office,garage,cellar,nursery,garden,attic,dining room,living room,porch,"
         "guest room,playroom,laundry room").split(",")
THINGS = ("lamp,radio,book,cup,chair,clock,letter,basket,blanket,bottle,hammer,key,ladder,map,mirror,pillow,plate,"
          "fan,heater,blind,speaker,light").split(",")
ADJECTIVES = "old new small large red blue green white quiet warm cold heavy light broken clean dusty".split()
ANIMALS = {"cat": "sleeps", "dog": "barks", "bird": "sings", "horse": "runs", "cow": "eats grass", "fish": "swims",
           "bee": "makes honey", "owl": "hunts at night"}
OPPOSITES = {"warm": "cold", "large": "small", "old": "new", "quiet": "loud", "early": "late", "open": "closed",
             "heavy": "light", "clean": "dirty", "on": "off", "up": "down", "bright": "dark", "fast": "slow"}
VERBS = {"find": "found", "carry": "carried", "clean": "cleaned", "paint": "painted", "move": "moved",
         "repair": "repaired", "open": "opened", "close": "closed", "turn off": "turned off", "turn on": "turned on"}
TIMES = ("in the morning,at noon,in the evening,at night,after lunch,before dinner,on Monday,on Friday,every day,"
         "last week").split(",")
NUMBERS = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
           "seventeen eighteen nineteen twenty").split()
UNITS = {"degrees": "temperature", "percent": "level", "meters": "length", "minutes": "duration"}


def sentence(rng):
    person, other = rng.sample(PEOPLE, 2)
    thing, room, time = rng.choice(THINGS), rng.choice(ROOMS), rng.choice(TIMES)
    verb, past = rng.choice(list(VERBS.items()))
    adjective, number = rng.choice(ADJECTIVES), rng.randint(2, 99)
    animal, habit = rng.choice(list(ANIMALS.items()))
    one, opposite = rng.choice(list(OPPOSITES.items()))
    unit, kind = rng.choice(list(UNITS.items()))
    return rng.choice([
        lambda: f"{person} {past} the {adjective} {thing} in the {room} {time}.",
        lambda: f"The {thing} is in the {room}. {person} put it there {time}.",
        lambda: f"\"Could you please {verb} the {thing}?\" asked {person}. \"I {past} it already,\" said {other}.",
        lambda: f"The {animal} {habit} in the {rng.choice(['garden', 'yard', 'field'])}.",
        lambda: f"If it is not {one}, it is {opposite}.",
        lambda: f"The {kind} of the {thing} is {number} {unit}.",
        lambda: f"{person} wants to {verb} the {thing}, but the {room} is too {rng.choice(['dark', 'cold', 'small'])}.",
        lambda: f"There are {NUMBERS[rng.randint(2, 20)]} {adjective} {thing}s in the {room}.",
        lambda: f"{person} and {other} have a {animal}. It {habit} {time}.",
        lambda: f"I would like you to {verb} the {thing} in the {room}, please.",
        lambda: f"First {person} {past} the {thing}, then {other} {past} the {rng.choice(THINGS)}.",
        lambda: json.dumps({"owner": person, "thing": thing, "place": room, "count": number}, separators=(",", ":")),
    ])()


def question(rng):
    person, thing, room = rng.choice(PEOPLE), rng.choice(THINGS), rng.choice(ROOMS)
    one, opposite = rng.choice(list(OPPOSITES.items()))
    animal, habit = rng.choice(list(ANIMALS.items()))
    number = rng.randint(1, 19)
    return rng.choice([
        lambda: (f"what is the opposite of {one}", opposite),
        lambda: (f"what does the {animal} do", f"The {animal} {habit}."),
        lambda: (f"what comes after {NUMBERS[number]}", NUMBERS[number + 1]),
        lambda: (f"{person} put the {thing} in the {room}. where is the {thing}", f"The {thing} is in the {room}."),
        lambda: (f"{person} put the {thing} in the {room}. who did it", f"It was {person}."),
        lambda: (f"write {NUMBERS[number]} as a number", str(number)),
        lambda: (f"write as json: {person} has {number} {thing}s",
                 json.dumps({"owner": person, "thing": thing, "count": number}, separators=(",", ":"))),
    ])()


def sample(rng):
    """One text: a few sentences, or a conversation as the chat template writes it."""
    if rng.random() < 0.6:
        return " ".join(sentence(rng) for _ in range(rng.randint(2, 5)))
    asked, answered = question(rng)
    return f"{START}user\n{asked}{STOP}\n{START}assistant\n{answered}{STOP}\n"


def make_tokenizer(texts):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[END, START, STOP], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def write_json(name, value, **layout):
    (HERE / name).write_text(json.dumps(value, ensure_ascii=False, **layout) + "\n", encoding="utf-8")


def configuration():
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "float16", "hidden_act": "silu",
        "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_VALUE_HEADS, "vocab_size": VOCABULARY, "max_position_embeddings": POSITIONS,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True, "attention_bias": False,
        "mlp_bias": False, "bos_token_id": 0, "eos_token_id": 2, "initializer_range": 0.02}


def unigram_loss(train, held):
    """Cross-entropy of the held-out tokens under the frequencies of the training tokens, each counted once more."""
    counts = Counter(train)
    total = len(train) + VOCABULARY
    return -sum(math.log((counts[token] + 1) / total) for token in held) / len(held)


def train(tokens, held, steps, rate, rows=16, length=128):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**configuration())).float()
    stream, test = torch.tensor(tokens), torch.tensor(held[:len(held) // length * length]).reshape(-1, length)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.05)
    for step in range(steps):
        starts = torch.randint(len(tokens) - length, (rows,)).tolist()
        batch = torch.stack([stream[start:start + length] for start in starts])
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            print(f"step {step}  loss {loss.item():.3f}", flush=True)
    model = model.half().float().eval()
    with torch.no_grad():
        return model, model(input_ids=test, labels=test).loss.item()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=int, metavar="N", help="print N samples and stop")
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    options = parser.parse_args()
    rng = random.Random(7)
    texts = [sample(rng) for _ in range(options.text or 24_000)]
    if options.text:
        print("\n".join(texts))
        return
    held = [sample(rng) for _ in range(600)]
    # The requests that the model will be fine-tuned on lend their words to the vocabulary, not to the training.
    requests = (HERE.parent / "home-control" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    requests = [text for line in requests for text in json.loads(line).values()]
    tokenizer = make_tokenizer(texts + requests)
    train_ids, held_ids = ([token for text in part for token in tokenizer.encode(text).ids + [0]]
                           for part in (texts, held))
    model, loss = train(train_ids, held_ids, options.steps, options.learning_rate)
    print(f"{len(train_ids)} tokens; held-out loss {loss:.3f}, of unigrams {unigram_loss(train_ids, held_ids):.3f}")

    from safetensors.torch import save_file
    save_file({name: value.half().contiguous() for name, value in model.state_dict().items()
               if name != "lm_head.weight"}, HERE / "model.safetensors", metadata={"format": "pt"})
    write_json("tokenizer.json", json.loads(tokenizer.to_str()), separators=(",", ":"))
    write_json("config.json", configuration(), indent=2)
    write_json("generation_config.json", {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0}, indent=2)
    write_json("tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": END, "eos_token": STOP, "pad_token": END,
        "clean_up_tokenization_spaces": False, "model_max_length": POSITIONS, "chat_template": TEMPLATE}, indent=2)


if __name__ == "__main__":
    main()
