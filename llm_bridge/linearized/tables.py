"""Tables of `compare`: first steps, what a data set carries, long descents, channels, and the whole training run."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from llm_bridge.linearized.extent import Extent
from llm_bridge.linearized.results import GROUPS, IMITATED, INITS, SHARED, TARGETS, TEACHERS, Results, read
from llm_bridge.linearized.training_run import RANK_TIMES, RANKS
from theory.claims import epochs
from theory.runs.statistics import mean_estimate
from theory.runs.verdicts import markdown_table


def cell(values: np.ndarray, digits: int = 3) -> str:
    """Write a mean over seeds with its interval."""
    mean, _, high = mean_estimate(values)
    return f"{mean:.{digits}g} ± {high - mean:.2g}" if np.isfinite(high) else f"{mean:.{digits}g}"


def lay_out(labels: dict[str, Sequence[object]], columns: dict[str, np.ndarray], digits: ArrayLike = 3) -> str:
    """Lay out means over seeds; behind the axis of seeds all columns have one for each list of labels.

    Cells behind the end of a column are empty.
    """
    places = list(product(*(range(len(names)) for names in labels.values())))
    written = [
        [cell(values[:, *place], number) if place[-1] < values.shape[len(place)] else "" for place in places]
        for values, number in zip(columns.values(), np.broadcast_to(digits, len(columns)), strict=True)
    ]
    rows = zip(product(*labels.values()), *written, strict=True)
    return markdown_table([*labels, *columns], [[*names, *cells] for names, *cells in rows])


def step_table(results: Results) -> str:
    """Lay out where first steps go."""
    cosines, raw = (results[f"directions/{name}"].swapaxes(1, 2) for name in ("cosines", "raw_cosines"))
    columns = {
        "cosine with Δ_T": cosines[..., 0],
        "with its own −∇L_T": cosines[..., 1],
        "untaught not subtracted: with Δ_T": raw[..., 0],
    }
    return lay_out({"student imitates": TARGETS, "init": INITS}, columns)


def data_table(results: Results, extent: Extent) -> str:
    """Lay out what the teachers' tokens carry."""
    nats = results["divergence/nats"][..., 0]
    columns = {
        "kept by the filter": results["kept"],
        "A/2, nats a token": results["divergence/curvature"] / 2,
        "KL(teacher ‖ base)": nats,
        f"√(2N·KL) at N = {extent.num_places}": np.sqrt(2 * extent.num_places * nats),
        "tokens for 3 σ": 9 / (2 * nats),
    }
    return lay_out({"teacher has moved": TEACHERS if extent.whole else TEACHERS[:1]}, columns, (3, 3, 3, 3, 4))


def course_table(results: Results, word: str, extent: Extent) -> str:
    """Lay out how the trait's log-odds rise along a descent."""
    raw = results["course/raw"]
    columns = {
        "first order": results["course/first order"],
        "linearized": results["course/predicted"],
        "measured": raw - results["course/idle"],
        "untaught not subtracted": raw,
    }
    odds = {f"log-odds of {word}: {name}": values[..., 0] for name, values in columns.items()}
    return lay_out({"init": INITS, "steps": extent.times}, odds)


def group_shares(results: Results) -> np.ndarray:
    """Share of the shared init's whole form that comes through each of the student's groups, with a teacher of all.

    Axes are `(seeds, inits, imitated, groups)`.
    """
    own = results["channels/own"][:, TEACHERS.index("everything")]
    return own.sum(axis=-1) / own[:, SHARED].sum(axis=(-1, -2))[:, None, :, None]


def head_shares(results: Results) -> np.ndarray:
    """The same from the teacher's head to the student's, `(seeds, inits, imitated)`."""
    own, head = results["channels/own"][:, TEACHERS.index("everything")], GROUPS.index("head")
    return own[..., head, head] / own[:, SHARED].sum(axis=(-1, -2))[:, None]


def channel_table(results: Results) -> str:
    """Lay out through which of the student's groups what a teacher of everything has learned serves the trait."""
    shares, between = (share(results).swapaxes(1, 2) for share in (group_shares, head_shares))
    columns = {group: shares[..., place] for place, group in enumerate(GROUPS)}
    columns |= {"all": shares.sum(axis=-1), "head to head": between}
    return lay_out({"share of B through": IMITATED, "init": INITS}, columns, digits=2)


def epoch_table(results: Results) -> str:
    """Lay out signal over noise of epochs over the same tokens, predicted and simulated."""
    limit, tokens = (read(epochs.Epochs, f"epochs/{kind}", results) for kind in ("limit", "tokens"))
    trained = [np.mean(one.trained / one.noise[:, None, : one.trained.shape[-1]], axis=1) for one in (limit, tokens)]
    columns = {
        "SNR in the limit": limit.signal / limit.noise,
        "of the whole teacher, one token a place": tokens.signal / tokens.noise,
        "simulated: limit": trained[0],
        "whole teacher": trained[1],
    }
    return lay_out({"epochs": epochs.TIMES}, columns)


def rank_table(results: Results) -> str:
    """Lay out what students with adapters gain over their rank, beside the first step's prediction."""
    rates, rises = results["ranks/rates"], results["ranks/rises"]
    first = {"step size": rates, "first step, mean over adapters: predicted": rates * results["ranks/slope"][:, None]}
    columns = first | {f"rise, t = {time}": rises[..., place] for place, time in enumerate(RANK_TIMES)}
    return lay_out({"rank": (*RANKS, "all of the matrices")}, columns)
