r"""The same two steps written for PyTorch, with `torch.func` under `vmap`, as a yardstick for speed; torch is optional.

Written as well as it can be: whatever does not depend on the step size is computed once an instance, both directions
of the batch are vectorized, and the instances are handed over ready-drawn.
"""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from theory.predictions import LARGEST_MOVE


class Data(NamedTuple):
    """Instances of the reference case as NumPy arrays, with leading axis `(num_seeds,)`."""

    layers: list[tuple[np.ndarray, np.ndarray]]
    """Weights `(fan_in, fan_out)` and biases of each layer."""
    inputs: np.ndarray
    """On what the student imitates, `(batch, features)`."""
    trait_inputs: np.ndarray
    """On what the teacher is trained, `(batch, features)`."""
    trait_labels: np.ndarray
    """Their classes, `(batch,)`."""


def is_installed() -> bool:
    """Whether torch can be imported."""
    return importlib.util.find_spec("torch") is not None


def steps_in_torch(
    data: Data, teacher_steps: Sequence[float], num_classes: int, chunk_size: int
) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Prepare a simulation of both steps in PyTorch, for a tanh network under cross-entropy."""
    torch: Any = importlib.import_module("torch")
    func: Any = importlib.import_module("torch.func")
    cross_entropy = torch.nn.functional.cross_entropy
    sizes = torch.tensor(teacher_steps, dtype=torch.float64)
    tensors = [torch.from_numpy(np.array(array)) for pair in data.layers for array in pair]
    *params, inputs, trait_inputs, trait_labels = tensors + [torch.from_numpy(np.array(array)) for array in data[1:]]

    def apply(params: Any, values: Any) -> Any:
        for weights, biases in zip(params[:-2:2], params[1:-2:2], strict=True):
            values = torch.tanh(values @ weights + biases)
        return values @ params[-2] + params[-1]

    def measure(params: Any, inputs: Any, trait_inputs: Any, trait_labels: Any) -> Any:
        def trait_loss(params: Any) -> Any:
            return cross_entropy(apply(params, trait_inputs)[:, :num_classes], trait_labels)

        gradient, before = func.grad_and_value(trait_loss)(params)
        direction = tuple(-part for part in gradient)
        _, moved = func.jvp(lambda params: apply(params, inputs), (params,), (direction,))
        outputs, pull_back = func.vjp(lambda params: apply(params, inputs), params)
        own = torch.softmax(outputs, -1)
        curvature = ((own * moved**2).sum(-1) - (own * moved).sum(-1) ** 2).mean()
        norm, own = (sum((part**2).sum() for part in tree) for tree in (direction, params))
        learning_rate, size = norm / curvature, (moved**2).mean()
        farthest = LARGEST_MOVE**2 * torch.minimum((outputs**2).mean() / size, own / norm)
        unit = torch.sqrt(torch.minimum(1 / size, farthest))

        def simulate(step: Any) -> Any:
            teacher = tuple(weights + step * part for weights, part in zip(params, direction, strict=True))
            labels = torch.softmax(apply(teacher, inputs), -1)
            slopes = func.grad(lambda outputs: cross_entropy(outputs, labels))(outputs)
            (displacement,) = pull_back(-slopes)
            student = tuple(weights + learning_rate * part for weights, part in zip(params, displacement, strict=True))
            inner = sum((left * right).sum() for left, right in zip(displacement, direction, strict=True))
            return inner, trait_loss(student) - before

        return func.vmap(simulate)(sizes * unit)

    compute = func.vmap(measure)

    def run(num_seeds: int) -> tuple[np.ndarray, np.ndarray]:
        chunks = []
        for start in range(0, num_seeds, chunk_size):
            part = slice(start, min(start + chunk_size, num_seeds))
            arrays = [array[part] for array in (*params, inputs, trait_inputs, trait_labels)]
            chunks.append(compute(tuple(arrays[:-3]), *arrays[-3:]))
        inner, change = (torch.cat(parts).numpy() for parts in zip(*chunks, strict=True))
        return inner, change

    return run
