#!/usr/bin/env python3
"""Figures of random labels by scikit-learn, seqeval and scipy: Tests/MetricsTests/Golden/figures.json.

needs: scikit-learn, seqeval, scipy
"""
import json
import pathlib
import random
import warnings

import numpy
from scipy.stats import pearsonr, spearmanr
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2
from sklearn.metrics import accuracy_score, confusion_matrix, mean_squared_error, precision_recall_fscore_support

warnings.filterwarnings("ignore")
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
AVERAGES = ("micro", "macro", "weighted")


def three(values):
    return [float(value) for value in values[:3]]


def single(rng):
    count, size = rng.randint(2, 6), rng.randint(1, 40)
    truth = [rng.randrange(count) for _ in range(size)]
    said = [value if rng.random() < 0.6 else rng.randrange(count) for value in truth]
    present = sorted(set(truth) | set(said))
    return {"labels": count, "truth": truth, "said": said, "accuracy": accuracy_score(truth, said),
            "confusion": confusion_matrix(truth, said, labels=range(count)).tolist(),
            "each": {str(label): three(precision_recall_fscore_support(
                truth, said, labels=[label], average="macro", zero_division=0)) for label in present},
            **{name: three(precision_recall_fscore_support(truth, said, average=name, zero_division=0))
               for name in AVERAGES}}


def several(rng):
    count, size = rng.randint(2, 5), rng.randint(1, 30)
    truth = [[rng.randint(0, 1) for _ in range(count)] for _ in range(size)]
    said = [[bit if rng.random() < 0.7 else 1 - bit for bit in row] for row in truth]
    return {"labels": count, "truth": truth, "said": said,
            "accuracy": accuracy_score(numpy.array(truth), numpy.array(said)),
            **{name: three(precision_recall_fscore_support(
                numpy.array(truth), numpy.array(said), average=name, zero_division=0))
               for name in AVERAGES}}


def entities(rng):
    tags = ["O"] + [f"{begin}-{kind}" for kind in ("PER", "LOC", "corp") for begin in "BI"]
    def sentence():
        return [rng.choice(tags) for _ in range(rng.randint(1, 12))]
    truth = [sentence() for _ in range(rng.randint(1, 8))]
    said = [[tag if rng.random() < 0.7 else rng.choice(tags) for tag in row] for row in truth]
    options = {"mode": "strict", "scheme": IOB2, "zero_division": 0}
    found = {}
    for name in AVERAGES:
        try:
            found[name] = [float(score(truth, said, average=name, **options))
                           for score in (precision_score, recall_score, f1_score)]
        except ValueError:  # seqeval fails where there is no entity at all
            found[name] = [0.0, 0.0, 0.0]
        # and says nan where it has nothing to take a mean of
        found[name] = [0.0 if value != value else value for value in found[name]]
    return {"truth": truth, "said": said, **found}


def numbers(rng):
    size = rng.randint(3, 40)
    truth = [round(rng.gauss(0, 2), rng.choice((0, 3))) for _ in range(size)]
    said = [round(value + rng.gauss(0, 1), 1) for value in truth]
    if len(set(truth)) < 2 or len(set(said)) < 2:
        return numbers(rng)
    return {"truth": truth, "said": said, "mse": mean_squared_error(truth, said),
            "pearson": float(pearsonr(truth, said)[0]), "spearman": float(spearmanr(truth, said)[0])}


def main():
    rng = random.Random(11)
    made = {name: [make(rng) for _ in range(50)] for name, make in
            (("single", single), ("several", several), ("entities", entities), ("numbers", numbers))}
    folder = ROOT / "Tests/MetricsTests/Golden"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "figures.json").write_text(json.dumps(made, separators=(",", ":"), allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
