"""Values and densities of Optuna's TPESampler for given histories and random numbers.

Writes Tests/SearchTests/Golden/tpe.json. Needs optuna (4.x) and numpy.
"""
import json
import pathlib
import sys

import numpy
import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
SPACES = {
    "even": (optuna.distributions.FloatDistribution(0.0, 0.5), {"low": 0.0, "high": 0.5}),
    "logarithmic": (optuna.distributions.FloatDistribution(1e-5, 1e-2, log=True), {"low": 1e-5, "high": 1e-2, "log": True}),
    "whole": (optuna.distributions.IntDistribution(2, 400), {"low": 2, "high": 400}),
    "logarithmic-whole": (optuna.distributions.IntDistribution(1, 640, log=True), {"low": 1, "high": 640, "log": True}),
    "choices": (optuna.distributions.CategoricalDistribution(["a", "b", "c"]), ["a", "b", "c"]),
}


class Recorder:
    """A random state that remembers what it gave."""

    def __init__(self, seed):
        self.state, self.given = numpy.random.RandomState(seed), []

    def choice(self, count, p, size):
        numbers = self.state.random_sample(size)
        self.given += numbers.tolist()
        sums = numpy.cumsum(p)
        return (sums / sums[-1]).searchsorted(numbers, side="right")

    def rand(self, size):
        return self.uniform(size=size)

    def uniform(self, low=0, high=1, size=None):
        numbers = self.state.random_sample(size)
        self.given += numpy.ravel(numbers).tolist()
        return low + (high - low) * numbers


def case(name, distribution, space, count, seed):
    study = optuna.create_study()
    draw = numpy.random.RandomState(seed)
    history = []
    # Without repetition: numpy does not say which of two equal numbers stands first, and their widths differ.
    wholes = draw.permutation(numpy.arange(getattr(distribution, "low", 0), getattr(distribution, "high", 0) + 1))
    for number in range(count):
        if isinstance(distribution, optuna.distributions.CategoricalDistribution):
            inner = float(draw.randint(3))
        elif isinstance(distribution, optuna.distributions.IntDistribution):
            inner = float(wholes[number])
        else:
            low, high = distribution.low, distribution.high
            unit = draw.rand()
            inner = float(low * (high / low) ** unit if distribution.log else low + unit * (high - low))
        cost = float(draw.rand())
        study.add_trial(
            optuna.trial.create_trial(
                params={"x": distribution.to_external_repr(inner)}, distributions={"x": distribution}, value=cost))
        history.append([inner, cost])
    sampler = optuna.samplers.TPESampler(seed=0)
    recorder = Recorder(seed + 1)
    sampler._rng._rng = recorder
    densities = []
    original = sampler._compute_acquisition_func

    def watch(samples, below, above):
        for value in samples["x"]:
            one = {"x": numpy.array([value])}
            densities.append([float(value), float(below.log_pdf(one)[0]), float(above.log_pdf(one)[0])])
        return original(samples, below, above)

    sampler._compute_acquisition_func = watch
    trial = study.ask()._cached_frozen_trial
    value = sampler.sample_independent(study, trial, "x", distribution)
    return {
        "name": name, "space": space, "history": history, "uniform": recorder.given, "samples": densities,
        "value": distribution.to_internal_repr(value),
    }


cases = [
    case(name, distribution, space, count, 10 * count + index)
    for index, (name, (distribution, space)) in enumerate(SPACES.items())
    for count in (10, 23, 60)
]
pathlib.Path(sys.argv[1]).write_text(json.dumps({"optuna": optuna.__version__, "cases": cases}) + "\n")
