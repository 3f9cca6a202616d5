"""Reports of the bridge: how far the theory reaches where it guarantees nothing, in full teachers and long descents."""

from collections.abc import Mapping

import numpy as np

from llm_bridge.bridge.measurement import SHARED, STRANGER, TARGETS, TEACHERS
from llm_bridge.bridge.roles import Extent
from theory.runs.statistics import mean_estimate
from theory.runs.verdicts import Verdict

Results = Mapping[str, np.ndarray]
"""Measurements by name, with a leading axis of seeds."""


def report_information(results: Results, extent: Extent) -> list[Verdict]:
    """Report the teachers' divergence at its full size, and how far sampled tokens carry it.

    Args:
        results: Measurements.
        extent: How much was measured.

    Returns:
        The verdicts, all of them reports.
    """
    nats, curvature = results["divergence/nats"], results["divergence/curvature"]
    noise = np.sqrt(curvature[:, :1] / extent.num_places)
    found = results["directions/added"][:, :, TARGETS.index("sampled tokens"), 0] / noise
    signal = np.sqrt(2 * extent.num_places * nats[:, 0, 0])
    ratio = nats[..., 0] / (curvature / 2)
    return [
        Verdict(
            claim="divergence",
            check=f"KL of the whole teacher of {teacher} over A/2",
            predicted="1 if quadratic",
            measured=mean_estimate(ratio[:, place]),
            instances=len(ratio),
        )
        for place, teacher in enumerate(TEACHERS)
    ] + [
        Verdict(
            claim="sampled-tokens",
            check=f"alignment by {extent.num_places} sampled tokens in σ = √(A/N), less √(2N·KL)",
            predicted="0 ± 1 a seed",
            measured=mean_estimate(found[:, SHARED] - signal),
            control="stranger",
            control_measured=mean_estimate(found[:, STRANGER] - signal),
            instances=len(ratio),
        )
    ]


def report_courses(results: Results, extent: Extent) -> list[Verdict]:
    """Report how far the first order and the linearized student reach along a descent.

    Args:
        results: Measurements.
        extent: How much was measured.

    Returns:
        The verdicts, all of them reports.
    """
    measured = (results["course/raw"] - results["course/idle"])[:, SHARED, :, 0]
    first, linearized = (results[f"course/{name}"][:, SHARED, :, 0] for name in ("first order", "predicted"))
    compared = {
        f"the linearized student's, t = {time}": linearized[:, place] for place, time in enumerate(extent.times)
    }
    compared[f"tα∇o·b, t = {extent.times[-1]}"] = first[:, -1]
    places = [*range(len(extent.times)), -1]
    return [
        Verdict(
            claim="many-steps",
            check=f"rise of the trait's log-odds by t steps over {text}, shared init",
            predicted="1 if linear",
            measured=mean_estimate(measured[:, place] / expected),
            instances=len(measured),
        )
        for place, (text, expected) in zip(places, compared.items(), strict=True)
    ]
