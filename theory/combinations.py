"""The command `sweep`: one step of teacher and student over all combinations of the ingredients that one names."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle, product
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import numpy as np
import tyro

from theory import zoo
from theory.experiments import experiment
from theory.one_step import measure
from theory.problem import Instance, Problem
from theory.runs.command_line import RunOptions, require, require_count
from theory.runs.memory import free_memory, require_memory
from theory.runs.processes import Processes
from theory.runs.records import Outcome, Record
from theory.runs.statistics import Estimate, joint_confidence, median_estimate, rate_estimate
from theory.runs.sweeps import Sampling
from theory.runs.verdicts import Verdict, markdown_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LAYERS = 1000
"""Each is compiled."""

MOST_COMBINATIONS = 100
"""Each is a program of its own, which takes a second or two to compile."""

IMITATED = {"all": (*zoo.CLASSES, *zoo.AUXILIARY), "classes": zoo.CLASSES, "auxiliary": zoo.AUXILIARY}
"""Outputs that the student imitates, by name."""

AXES = ("network", "depth", "width", "activation", "loss", "imitated", "trait", "inputs")
"""What can be varied."""


@dataclass(frozen=True, kw_only=True)
class Combinations(RunOptions, Processes, Sampling):
    """Take one step over every combination of the ingredients that are named, and report what depends on them."""

    network: tuple[Literal["perceptron", "convolution", "attention"], ...] = ("perceptron",)
    """Networks; depth and width are those of perceptrons."""
    depth: tuple[int, ...] = (2,)
    """Hidden layers; 0 for a linear model."""
    width: tuple[int, ...] = (16,)
    """Units in each hidden layer."""
    activation: tuple[Literal["tanh", "relu", "gelu", "sin", "identity"], ...] = ("tanh",)
    """Activation functions."""
    loss: tuple[Literal["cross-entropy", "squared error"], ...] = ("cross-entropy",)
    """Imitation losses."""
    imitated: tuple[Literal["all", "classes", "auxiliary"], ...] = ("all",)
    """Outputs that the student imitates: all six, the trait's own three, or the other three."""
    trait: tuple[Literal["classification", "regression", "preference", "weight penalty", "random direction"], ...] = (
        "classification",
    )
    """What the teacher learns."""
    inputs: tuple[Literal["Gaussian", "uniform", "structured", "constant"], ...] = ("Gaussian",)
    """On what the student imitates."""
    cases: tyro.conf.Suppress[Literal["all", "few"]] = "all"

    def __post_init__(self) -> None:
        Sampling.__post_init__(self)
        Processes.__post_init__(self)
        for name in AXES:
            values = getattr(self, name)
            require(0 < len(values) == len(set(values)), name, "one or more different values", values)
        require(all(0 <= depth <= MOST_LAYERS for depth in self.depth), "depth", f"from 0 to {MOST_LAYERS}", self.depth)
        for width in self.width:
            require_count("width", width)
        weights = max(self.width) ** 2 * (max(self.depth) - 1)
        require_memory("the network doesn't fit in memory, take a smaller --width", 8 * weights, free_memory())
        allowed = f"such that at most {MOST_COMBINATIONS} combinations are asked for"
        require(len(self.combinations()) <= MOST_COMBINATIONS, "ingredients", allowed, len(self.combinations()))

    def axes(self) -> dict[str, tuple[Any, ...]]:
        """List what is varied and what is not, by field name."""
        return {name: getattr(self, name) for name in AXES}

    def combinations(self) -> list[dict[str, Any]]:
        """List every combination of the ingredients."""
        return [dict(zip(AXES, values, strict=True)) for values in product(*self.axes().values())]

    def label(self, combination: Mapping[str, Any]) -> str:
        """Name a combination by what is varied, as in `depth 2, width 16`."""
        varied = [f"{name} {combination[name]}" for name, values in self.axes().items() if len(values) > 1]
        return ", ".join(varied) or "one combination"


class Ratios(NamedTuple):
    """What is kept of an instance."""

    visible: jax.Array
    """Whether $A > 0$ by more than rounding, shape `()`."""
    alignment_ratio: jax.Array
    r"""$\Delta_S\cdot\Delta_T / \epsilon A$, shape `(teacher_steps,)`."""
    change_ratio: jax.Array
    r"""Fall of the trait loss over $\epsilon\alpha A$, shape `(teacher_steps, learning_rates)`."""


def measure_ratios(problem: Problem, instance: Instance, **steps: Any) -> Ratios:
    """Take both steps and divide by what is predicted."""
    taken = measure(problem, instance, **steps)
    predicted = taken.curvature * taken.steps
    change = -taken.change / (predicted[:, None] * taken.rates[None, :])
    return Ratios(taken.visible, taken.alignment / predicted, change)


def sweep_combinations(options: Combinations) -> Outcome:
    """Fit the orders of both remainders of every combination, and count how often the trait loss falls."""
    problems = {
        options.label(one): zoo.variant(
            options.label(one),
            network=one["network"],
            hidden=(one["width"],) * one["depth"],
            activation=one["activation"],
            loss=one["loss"],
            imitated=IMITATED[one["imitated"]],
            trait=one["trait"],
            inputs=one["inputs"],
        )
        for one in options.combinations()
    }
    take: dict[str, Any] = {"teacher_steps": options.teacher_steps, "learning_rates": options.learning_rates}
    measures = {label: experiment(problem, measure_ratios, **take) for label, problem in problems.items()}
    results: dict[str, Ratios] = options.sweep_all(measures, "sweep")
    rows, verdicts = [], []
    for label, result in results.items():
        estimates = summarize(result, options, joint_confidence(3 * len(results)))
        rows.append((label, int(np.sum(result.visible)), *estimates.values()))
        verdicts += [
            Verdict(
                claim="sweep",
                check=f"{quantity}: {label}",
                predicted="2.00" if "order" in quantity else "1 for small ε",
                measured=estimate,
                instances=int(np.sum(result.visible)),
            )
            for quantity, estimate in estimates.items()
        ]
    arrays = {
        f"sweep/{label}/{name}": array for label, result in results.items() for name, array in result._asdict().items()
    }
    header = ("ingredients", "instances with A > 0", *summarize(next(iter(results.values())), options, 0.999))
    return Outcome(arrays, verdicts, markdown_table(header, rows))


def summarize(result: Ratios, sampling: Sampling, confidence: float) -> dict[str, Estimate]:
    """Fit both orders and count how often the trait loss falls, over the instances with $A > 0$."""
    seen, middle = np.asarray(result.visible), len(sampling.learning_rates) // 2
    alignment, change = np.asarray(result.alignment_ratio)[seen], np.asarray(result.change_ratio)[seen][:, :, middle]
    rate, step = sampling.learning_rates[middle], sampling.teacher_steps[-1]

    def order(ratios: np.ndarray) -> Estimate:
        return median_estimate(1 + sampling.orders(ratios - 1), confidence)

    falls = rate_estimate(change[:, -1] > 0, confidence) if seen.any() else Estimate(np.nan, np.nan, np.nan)
    return {
        "order of Δ_S·Δ_T − εA": order(alignment),
        f"order of g + εαA at α = {rate:g}": order(change),
        f"share where L_T falls at ε = {step:g}, α = {rate:g}": falls,
    }


def draw_combinations(record: Record) -> "Figure":
    """Draw how the fall of the trait loss departs from its prediction, a line for each combination."""
    import matplotlib as mpl

    from theory.runs.style import BLACK, BLUE, GRAY, GREEN, ORANGE, STEP_LABEL, STYLE, new_figure

    steps, middle = np.array(record.config["teacher_steps"]), len(record.config["learning_rates"]) // 2
    labels = [name.split("/")[1] for name in record.results if name.endswith("/change_ratio")]
    looks = cycle(product(("-", "--", ":", "-."), (BLUE, ORANGE, GREEN, GRAY, BLACK)))
    with mpl.rc_context(STYLE):
        figure, (left, right) = new_figure(2, 1, 5.0, 3.8)
        for label, (line, color) in zip(labels, looks, strict=False):
            seen = record.results[f"sweep/{label}/visible"]
            if not seen.any():
                continue
            alignment = record.results[f"sweep/{label}/alignment_ratio"][seen]
            change = record.results[f"sweep/{label}/change_ratio"][seen][:, :, middle]
            left.loglog(steps, np.median(np.abs(alignment - 1), axis=0), line, color=color, label=label)
            right.semilogx(steps, np.mean(change > 0, axis=0), line, color=color, label=label)
        left.set(xlabel=STEP_LABEL, ylabel=r"$|\Delta_S\cdot\Delta_T / \epsilon A - 1|$, median over seeds")
        left.set_title("What is left of the alignment falls with ε")
        right.set(xlabel=STEP_LABEL, ylabel=r"share of seeds in which $L_T$ falls", ylim=(-0.02, 1.02))
        right.set_title(f"…and the trait loss falls, α = {record.config['learning_rates'][middle]:g}")
        if len(labels) <= 20:
            left.legend(fontsize=7)
    return figure
