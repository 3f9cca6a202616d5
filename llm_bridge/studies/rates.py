"""Rates at which students of other optimizers imitate like those of AdamW; chosen by imitation alone, no lift was seen.

For each optimizer rates a factor 2 apart were tried on five development bases that no record shows. A student
imitates badly at too small a rate and again, as its steps overshoot, at too large a one, so it can come as near to its
teacher as AdamW's at two rates. The rule, written down before any lift was looked at: among the rates up to that of the
lowest KL, the one whose KL is nearest to AdamW's, in ratio. Where none gets that low, it is the rate of the lowest KL.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from llm_bridge.backends.backend import Known
from llm_bridge.model.recipes import Optimizer
from llm_bridge.studies.bases import run_base
from llm_bridge.studies.study import Arm, Study


def measure_imitation(
    study: Study, base: Known, words: Sequence[str], seed: int, grid: Sequence[tuple[Optimizer, float]]
) -> Float[np.ndarray, "rates traits"]:
    """Measure how well students that share the init imitate with several optimizers and rates, and nothing else.

    It is the KL to the teacher over number tokens on held-out completions, in nats a token.
    """
    arms = {f"{name} {rate}": Arm(recipe={"optimizer": name, "learning_rate": rate}) for name, rate in grid}
    return run_base(replace(study, arms=arms, findings=()), words, base, base, seed).distances


def choose_rate(distances: Mapping[float, float], usual: float) -> float:
    """Choose among rates up to that of the lowest KL the one whose KL is nearest to the usual, AdamW's, in ratio."""
    best = min(distances, key=distances.__getitem__)
    return min((rate for rate in distances if rate <= best), key=lambda rate: abs(np.log(distances[rate] / usual)))


USUAL = 0.000167
"""KL of AdamW's students to their teachers at the usual rate, nats a token: mean of the development bases 0 to 4."""

IMITATION: dict[Optimizer, dict[float, float]] = {
    "sgd": {1.0: 0.000943, 2.0: 0.000654, 4.0: 0.00377, 8.0: 0.319, 16.0: 0.712},
    "momentum": {0.5: 0.000423, 1.0: 0.000322, 2.0: 0.178, 4.0: 0.604},
    "sign": {0.0005: 0.000295, 0.001: 0.000192, 0.002: 0.000141, 0.004: 0.000133},
    "lion": {0.00025: 0.000334, 0.0005: 0.000202, 0.001: 0.000228, 0.002: 0.000773},
}
"""The same of each rate that was tried: the mean of `measure_imitation(STUDIES["optimizers"], tiny_base(Pretraining(),
seed), TRAITS, seed, grid)` for seeds 0 to 4. A coarser grid on base 0, rates a factor 4 apart, had found the range."""

RATES: dict[Optimizer, float] = {name: choose_rate(distances, USUAL) for name, distances in IMITATION.items()}
"""Each optimizer's rate. Signs alone get as low as AdamW, Lion nearly; momentum is left with twice AdamW's KL and
descent with four times it, as at the next rate their steps overshoot in some bases."""
