"""Claim 6.1: what the teacher adds far from its init, and both ways from there to another init."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import Sampling
from theory.claim import Report
from theory.claims import phases as far_off
from theory.displaced_inits import interpolate, rotate
from theory.problem import Params

SAMPLING = Sampling(num_seeds=32)

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def phases() -> Report:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(far_off, "GRID", (1e-4, 1e-3, 0.1))
        return far_off.CLAIM.verify(None, SAMPLING)


def trees(seed: int) -> list[Params]:
    keys = jax.random.split(jax.random.key(seed))
    return [{"kernel": jax.random.normal(key, (100, 100)), "scale": jnp.ones(3)} for key in keys]


@given(seed=seeds, angle=st.floats(0, np.pi / 2))
def test_rotation_keeps_the_variance_and_the_constants_and_a_straight_line_does_not(seed, angle):
    start, end = trees(seed)
    turned, straight = (way(start, end, jnp.array(angle)) for way in (rotate, interpolate))
    error = np.sqrt(2 / start["kernel"].size)
    assert np.var(turned["kernel"]) == pytest.approx(1.0, abs=6 * error)
    assert np.var(straight["kernel"]) == pytest.approx(1 / (1 + np.sin(2 * angle)), abs=6 * error)
    np.testing.assert_array_equal(turned["scale"], 1.0)
    np.testing.assert_allclose(straight["scale"], 1.0, rtol=1e-15)


@pytest.mark.parametrize("way", [rotate, interpolate])
def test_ways_lead_from_one_init_to_the_other(way):
    start, end = trees(0)
    for angle, expected in [(0.0, start), (np.pi / 2, end)]:
        np.testing.assert_allclose(way(start, end, jnp.array(angle))["kernel"], expected["kernel"], atol=1e-14)


def test_what_the_teacher_adds_survives_distances_at_which_the_raw_sign_is_lost(phases):
    raw, subtracted, *_ = (verdict.measured for verdict in phases.verdicts)
    assert raw.high < 0.5 < subtracted.low


def test_both_ways_end_at_the_same_init_and_the_one_that_keeps_the_variance_transfers_more(phases):
    (result,) = phases.measurements.values()
    np.testing.assert_allclose(result.rotated[:, -1], result.interpolated[:, -1], atol=1e-6)
    assert np.median(result.rotated[:, 1]) > np.median(result.interpolated[:, 1])


def test_claim_guarantees_nothing(phases):
    assert [verdict.outcome for verdict in phases.verdicts] == ["reported"] * 5
