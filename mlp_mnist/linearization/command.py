"""The command that holds the theory's predictions against students of this experiment."""

from dataclasses import asdict, dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from mlp_mnist.data import Dataset, load
from mlp_mnist.experiment import make_keeper, place_data, run_all
from mlp_mnist.linearization.plots import draw_linearization
from mlp_mnist.linearization.students import MEASURED, measure_linearization
from mlp_mnist.linearization.verdicts import judge_linearization
from mlp_mnist.options import ExperimentOptions, choose_images
from mlp_mnist.protocol import PROTOCOLS, Protocol
from mlp_mnist.seeds import SeedGroup
from theory.runs.command_line import require
from theory.runs.records import Outcome, record_run


@dataclass(frozen=True, kw_only=True)
class Theory(ExperimentOptions):
    """Hold the theory's predictions against students of this experiment, for several numbers of auxiliary logits."""

    num_seeds: int = 8
    """Independent seeds: teacher, students and noise are drawn anew for each."""
    numbers: tuple[int, ...] = (3, 10, 30, 100, 300)
    """Numbers of auxiliary logits, ascending, each at least 2: a softmax over one is constant."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ascending = self.numbers == tuple(sorted(set(self.numbers)))
        require(
            bool(self.numbers) and ascending and min(self.numbers) >= 2, "numbers", "ascending from 2", self.numbers
        )


def run(options: Theory) -> bool:
    """Run the command.

    Args:
        options: Its options.

    Returns:
        Whether no verdict fails.
    """
    source = choose_images(options)
    protocol = replace(PROTOCOLS[source.name], precision=options.precision)
    config = {
        "data": source.name,
        "seed": options.seed,
        "num_seeds": options.num_seeds,
        "numbers": options.numbers,
        "protocol": asdict(protocol),
    }

    def compute() -> Outcome:
        measured = measure_seeds(protocol, options.numbers, load(source), options.seed, options.num_seeds)
        return judge_linearization(measured, options.numbers)

    return record_run("mlp_mnist theory", options, config, compute, draw_linearization, data=source.reason).none_fails


def measure_seeds(
    protocol: Protocol, numbers: tuple[int, ...], data: Dataset, seed: int, num_seeds: int
) -> dict[str, np.ndarray]:
    """Measure many seeds, one at a time on each core or device, and keep what is finished if a folder for it is set.

    Args:
        protocol: The protocol.
        numbers: Numbers of auxiliary logits.
        data: The images.
        seed: Root of all randomness.
        num_seeds: How many seeds.

    Returns:
        The arrays of `MEASURED` with a leading axis of seeds.
    """
    keeper = make_keeper(["linearization", asdict(protocol), numbers, seed], data)
    devices = jax.local_devices()
    stored = [place_data(data, None, device)[0] for device in devices]

    def measure(index: int) -> dict[str, np.ndarray]:
        if (kept := keeper.load(index, dict.fromkeys(MEASURED, np.zeros(0)))) is not None:
            return kept
        place = index % len(devices)
        with jax.default_device(devices[place]):
            group = SeedGroup(stored[place], None, jax.random.key(seed), index + jnp.arange(1, dtype=jnp.uint32))
            measured = measure_linearization(group, protocol, numbers)
        keeper.save(index, measured)
        return measured

    every = list(run_all(measure, range(num_seeds)))
    return {name: np.stack([measured[name] for measured in every]) for name in MEASURED}
