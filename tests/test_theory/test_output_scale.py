"""Claim 3.1: the scale of the outputs under the cosine distance, and under a loss that sees it."""

from dataclasses import replace

import numpy as np
import pytest

from theory import Sampling, losses, zoo
from theory.claim import Report
from theory.claims import output_scale
from theory.claims.output_scale import Scaling, largest, measure
from theory.experiments import experiment
from theory.runs.checks import ROUNDING
from theory.runs.sweeps import sweep

REFERENCE = zoo.build(zoo.REFERENCE)
SAMPLING = Sampling(num_seeds=32, teacher_steps=(1e-5, 1e-4, 1e-3, 1.0))


@pytest.fixture(scope="module")
def report() -> Report:
    return output_scale.CLAIM.verify(None, SAMPLING)


def test_squared_error_transfers_the_scale_of_the_outputs():
    problem = replace(REFERENCE, imitation_loss=losses.squared_error)
    result = sweep(experiment(problem, measure, teacher_steps=(1e-3, 1.0)), 0, 32, chunk_size=32)
    assert np.min(largest(result)) > 1e6 * ROUNDING


def test_cosine_distance_never_does(report):
    assert np.max(largest(report.measurements["scaling: cosine distance"])) <= ROUNDING


def test_claim_holds_for_the_reference(report):
    (verdict,) = report.verdicts
    assert (verdict.outcome, verdict.control_flips, verdict.instances) == ("holds", True, 2 * 32)


def test_claim_fails_if_anything_but_rounding_is_along_the_scale(report, judge_again):
    def wrong(result: Scaling) -> Scaling:
        return result._replace(alignment=result.alignment + 1e-12)

    assert judge_again(output_scale.CLAIM, SAMPLING, report, wrong) == ["fails"]
