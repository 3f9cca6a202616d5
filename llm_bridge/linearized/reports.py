"""Reports of `compare`: how far the theory reaches where it guarantees nothing, in full teachers and long descents."""

import numpy as np

from llm_bridge.linearized.extent import Extent
from llm_bridge.linearized.results import SHARED, STRANGER, TARGETS, TEACHERS, Results, of
from theory.runs.checks import Check, mean


def report_information(extent: Extent) -> list[tuple[str, Check]]:
    """The teachers' divergence at its full size, and how far sampled tokens carry it."""

    def over_quadratic(results: Results, place: int) -> np.ndarray:
        return results["divergence/nats"][:, place, 0] / (results["divergence/curvature"][:, place] / 2)

    def beyond_signal(results: Results, init: int) -> np.ndarray:
        noise = np.sqrt(results["divergence/curvature"][:, 0] / extent.num_places)
        found = results["directions/added"][:, init, TARGETS.index("sampled tokens"), 0] / noise
        return found - np.sqrt(2 * extent.num_places * results["divergence/nats"][:, 0, 0])

    quadratic = [
        Check(
            says=f"KL of the whole teacher of {teacher} over A/2",
            predicted="1 if quadratic",
            of=of(lambda results, place=place: over_quadratic(results, place)),
            by=mean(confidence=0.95),
        )
        for place, teacher in enumerate(TEACHERS if extent.whole else TEACHERS[:1])
    ]
    sampled = Check(
        says=f"alignment by {extent.num_places} sampled tokens in σ = √(A/N), less √(2N·KL)",
        predicted="0 ± 1 a seed",
        of=of(lambda results: beyond_signal(results, SHARED)),
        by=mean(confidence=0.95),
        control="stranger",
        broken=of(lambda results: beyond_signal(results, STRANGER)),
    )
    return [*(("divergence", check) for check in quadratic), ("sampled-tokens", sampled)]


def report_courses(extent: Extent) -> list[tuple[str, Check]]:
    """How far the first order and the linearized student reach along a descent."""

    def ratio(results: Results, prediction: str, place: int) -> np.ndarray:
        measured = results["course/raw"] - results["course/idle"]
        return (measured / results[f"course/{prediction}"])[:, SHARED, place, 0]

    compared = [(f"the linearized student's, t = {time}", "predicted", at) for at, time in enumerate(extent.times)]
    compared.append((f"tα∇o·b, t = {extent.times[-1]}", "first order", -1))
    return [
        (
            "many-steps",
            Check(
                says=f"rise of the trait's log-odds by t steps over {expected}, shared init",
                predicted="1 if linear",
                of=of(lambda results, prediction=prediction, place=place: ratio(results, prediction, place)),
                by=mean(confidence=0.95),
            ),
        )
        for expected, prediction, place in compared
    ]
