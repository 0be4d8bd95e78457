#!/usr/bin/env python3
"""Compares two safetensors files tensor by tensor: largest difference, relative L2 error, cosine.

The relative error is |a - b| / |b|: B is the truth. The last line takes all tensors as one vector (but not `loss`).
With limits given, exit code 1 says that one is broken.
"""
import argparse
import math
import sys

import torch
from safetensors.torch import load_file


class Tally:
    """Sums for error and cosine, in float64."""

    def __init__(self):
        self.largest, self.difference, self.aa, self.ab, self.bb = 0.0, 0.0, 0.0, 0.0, 0.0

    def add(self, a, b):
        a, b = a.double().flatten(), b.double().flatten()
        delta = a - b
        self.largest = max(self.largest, delta.abs().max().item() if delta.numel() else 0.0)
        self.difference += delta.dot(delta).item()
        self.aa, self.ab, self.bb = self.aa + a.dot(a).item(), self.ab + a.dot(b).item(), self.bb + b.dot(b).item()
        return self

    @property
    def relative(self):
        return math.sqrt(self.difference / self.bb) if self.bb > 0 else (0.0 if self.difference == 0 else math.inf)

    @property
    def cosine(self):
        if self.aa == 0 and self.bb == 0:
            return 1.0
        return self.ab / math.sqrt(self.aa * self.bb) if self.aa > 0 and self.bb > 0 else 0.0

    def text(self, name):
        return f"{name:72} {self.largest:12.4e} {self.relative:12.4e} {self.cosine:12.8f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("a")
    parser.add_argument("b")
    parser.add_argument("--quiet", action="store_true", help="only the worst tensors and the whole")
    parser.add_argument("--max-difference", type=float, help="limit for the largest difference anywhere")
    parser.add_argument("--max-relative", type=float, help="limit for the relative error of each tensor")
    parser.add_argument("--min-cosine", type=float, help="limit for the cosine of the whole")
    parser.add_argument("--min-tensor-cosine", type=float, help="limit for the cosine of each tensor")
    options = parser.parse_args()
    first, second = load_file(options.a), load_file(options.b)
    if first.keys() != second.keys():
        only_a, only_b = sorted(first.keys() - second.keys()), sorted(second.keys() - first.keys())
        raise SystemExit(f"different tensors: only in A {only_a[:5]}, only in B {only_b[:5]}")
    whole, each = Tally(), {}
    for name in sorted(first):
        a, b = first[name], second[name]
        if a.shape != b.shape:
            raise SystemExit(f"{name}: shape {list(a.shape)} against {list(b.shape)}")
        each[name] = Tally().add(a, b)
        if name != "loss":
            whole.add(a, b)
    names = sorted(each)
    if options.quiet:
        names = sorted(set(sorted(names, key=lambda n: -each[n].relative)[:3]
                           + sorted(names, key=lambda n: each[n].cosine)[:3]))
    print(f"{'tensor':72} {'max abs':>12} {'relative':>12} {'cosine':>12}")
    for name in names:
        print(each[name].text(name))
    print(whole.text(f"whole ({len(each)} tensors)"))
    worst = each.values()
    broken = [message for wrong, message in [
        # Written so that a NaN breaks a limit instead of slipping through.
        (options.max_difference is not None and not all(t.largest <= options.max_difference for t in worst),
         "largest difference"),
        (options.max_relative is not None and not all(t.relative <= options.max_relative for t in worst),
         "relative error"),
        (options.min_cosine is not None and not whole.cosine >= options.min_cosine, "cosine of the whole"),
        (options.min_tensor_cosine is not None and not all(t.cosine >= options.min_tensor_cosine for t in worst),
         "cosine of a tensor"),
    ] if wrong]
    if broken:
        sys.exit(f"limit broken: {', '.join(broken)}")


if __name__ == "__main__":
    main()
