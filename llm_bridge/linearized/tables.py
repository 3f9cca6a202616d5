"""Tables of `compare`: first steps, what a data set carries, long descents, channels, and the whole training run."""

import numpy as np

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


def step_table(results: Results) -> str:
    """Lay out where first steps go."""
    cosines, raw = results["directions/cosines"], results["directions/raw_cosines"]
    header = ["student imitates", "init", "cosine with Δ_T", "with its own −∇L_T", "untaught not subtracted: with Δ_T"]
    rows = [
        [target, init, *(cell(cosines[:, row, column, place]) for place in (0, 1)), cell(raw[:, row, column, 0])]
        for column, target in enumerate(TARGETS)
        for row, init in enumerate(INITS)
    ]
    return markdown_table(header, rows)


def data_table(results: Results, extent: Extent) -> str:
    """Lay out what the teachers' tokens carry."""
    nats, curvature = results["divergence/nats"][..., 0], results["divergence/curvature"]
    header = [
        "teacher has moved",
        "kept by the filter",
        "A/2, nats a token",
        "KL(teacher ‖ base)",
        f"√(2N·KL) at N = {extent.num_places}",
        "tokens for 3 σ",
    ]
    rows = [
        [
            teacher,
            cell(results["kept"][:, place]),
            cell(curvature[:, place] / 2),
            cell(nats[:, place]),
            cell(np.sqrt(2 * extent.num_places * nats[:, place])),
            cell(9 / (2 * nats[:, place]), 4),
        ]
        for place, teacher in enumerate(TEACHERS if extent.whole else TEACHERS[:1])
    ]
    return markdown_table(header, rows)


def course_table(results: Results, word: str, extent: Extent) -> str:
    """Lay out how the trait's log-odds rise along a descent."""
    raw, idle = results["course/raw"], results["course/idle"]
    columns = {
        "first order": results["course/first order"],
        "linearized": results["course/predicted"],
        "measured": raw - idle,
        "untaught not subtracted": raw,
    }
    rows = [
        [init, time, *(cell(values[:, row, place, 0]) for values in columns.values())]
        for row, init in enumerate(INITS)
        for place, time in enumerate(extent.times)
    ]
    return markdown_table(["init", "steps", *(f"log-odds of {word}: {name}" for name in columns)], rows)


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
    shares, between = group_shares(results), head_shares(results)
    rows = [
        [
            imitated,
            init,
            *(cell(shares[:, row, column, place], 2) for place in range(len(GROUPS))),
            cell(shares[:, row, column].sum(axis=-1), 2),
            cell(between[:, row, column], 2),
        ]
        for column, imitated in enumerate(IMITATED)
        for row, init in enumerate(INITS)
    ]
    return markdown_table(["share of B through", "init", *GROUPS, "all", "head to head"], rows)


def epoch_table(results: Results) -> str:
    """Lay out signal over noise of epochs over the same tokens, predicted and simulated."""
    limit, tokens = (read(epochs.Epochs, f"epochs/{kind}", results) for kind in ("limit", "tokens"))
    rows = [
        [
            time,
            *(cell(one.signal[:, place] / one.noise[:, place]) for one in (limit, tokens)),
            *(
                cell(np.mean(one.trained[..., place] / one.noise[:, None, place], axis=1))
                if place < one.trained.shape[-1]
                else ""
                for one in (limit, tokens)
            ),
        ]
        for place, time in enumerate(epochs.TIMES)
    ]
    header = [
        "epochs",
        "SNR in the limit",
        "of the whole teacher, one token a place",
        "simulated: limit",
        "whole teacher",
    ]
    return markdown_table(header, rows)


def rank_table(results: Results) -> str:
    """Lay out what students with adapters gain over their rank, beside the first step's prediction."""
    rates, rises = results["ranks/rates"], results["ranks/rises"]
    rows = [
        [name, cell(rates[:, place]), cell(rates[:, place] * results["ranks/slope"]), *map(cell, rises[:, place].T)]
        for place, name in enumerate((*RANKS, "all of the matrices"))
    ]
    header = [
        "rank",
        "step size",
        "first step, mean over adapters: predicted",
        *(f"rise, t = {time}" for time in RANK_TIMES),
    ]
    return markdown_table(header, rows)
