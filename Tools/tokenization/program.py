"""Builds and runs the helper program (main.swift beside this file) that puts the product's tokenizer and templates
behind standard input and output."""

import json
import struct
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def build():
    """The path of the helper, built against the release objects of the targets that it needs."""
    subprocess.run(["swift", "build", "-c", "release", "--target", "Tokenization"], cwd=ROOT, check=True, stdout=sys.stderr)
    products = Path(
        subprocess.run(
            ["swift", "build", "-c", "release", "--show-bin-path"], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.strip()
    )
    program = products / "tokenization-helper"
    # Objects of files that have gone stay where they were built.
    objects = [
        str(products / f"{target}.build" / f"{source.name}.o")
        for target in ("Formats", "Tokenization") for source in sorted((ROOT / "Sources" / target).rglob("*.swift"))]
    modules = ["-I", str(products / "Modules"), "-I", str(ROOT / "Sources/CZlib")]
    source = str(ROOT / "Tools/tokenization/main.swift")
    subprocess.run(["swiftc", "-O", "-swift-version", "6", *modules, source, *objects, "-lz", "-o", str(program)], check=True)
    return program


def run(program, *arguments, data=b""):
    return subprocess.run([str(program), *arguments], input=data, check=True, stdout=subprocess.PIPE).stdout


def encode(program, folder, texts, special):
    """The ids of each text."""
    data = b"".join(struct.pack("<I", len(t)) + t for t in (text.encode() for text in texts))
    return list(_frames(run(program, "encode", str(folder), "special" if special else "plain", data=data), ids=True))


def decode(program, folder, lists, skip, streaming=False):
    """The text of each list of ids."""
    data = b"".join(struct.pack(f"<I{len(ids)}i", len(ids), *ids) for ids in lists)
    command = "stream" if streaming else "decode"
    return list(_frames(run(program, command, str(folder), "skip" if skip else "all", data=data), ids=False))


def _frames(data, ids):
    position = 0
    while position < len(data):
        (count,) = struct.unpack_from("<I", data, position)
        position += 4
        if ids:
            yield list(struct.unpack_from(f"<{count}i", data, position))
            position += 4 * count
        else:
            yield data[position : position + count].decode()
            position += count


def trace(program, folder, requests):
    """Ids, types, places, words and texts of each request: `text` or `words`, perhaps a `pair`, and `special`."""
    data = "".join(json.dumps(request) + "\n" for request in requests).encode()
    return [json.loads(line) for line in run(program, "trace", str(folder), data=data).decode().splitlines()]
