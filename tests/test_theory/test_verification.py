"""Verification of problems of one's own: any tree of parameters, the same verdicts, and what is refused."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from theory import Problem, Sampling, losses, verify
from theory.claim import all_claims
from theory.pictures import draw
from theory.problem import Params
from theory.runs import provenance
from theory.runs.command_line import InputError
from theory.runs.records import in_memory, read_record
from theory.verification import check_claims, verify_zoo


def initialize(key: jax.Array) -> Params:
    one, two = jax.random.split(key)
    return [jax.random.normal(one, (2, 4)), (jax.random.normal(two, (4, 3)), {"scale": jnp.ones(())})]


def apply(params: Params, inputs: jax.Array) -> jax.Array:
    first, (second, rest) = params
    return rest["scale"] * jnp.sin(inputs @ first) @ second


def trait(params: Params, key: jax.Array) -> jax.Array:
    return jnp.mean(apply(params, jax.random.uniform(key, (4, 2)))[:, 0] ** 2)


YOURS = Problem(
    apply=apply,
    initialize=initialize,
    draw_inputs=partial(jax.random.uniform, shape=(5, 2)),
    imitation_loss=losses.squared_error,
    trait_loss=trait,
)


def test_any_tree_of_parameters_is_verified_and_recorded_under_its_names(few, tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "current_commit", lambda output: "0123456789ab")
    outcome = verify(YOURS, claims=["alignment"], sampling=few, output=tmp_path / "run")
    assert [verdict.outcome for verdict in outcome.verdicts] == ["holds"] * 4
    assert outcome.results["alignment/yours/measured"].shape == (few.num_seeds, len(few.teacher_steps))
    assert outcome.table.count("holds") == 4
    record = read_record(tmp_path / "run")
    assert record.none_fails
    assert record.table == outcome.table
    assert record.config["problems"] == ["yours"]
    for name, array in outcome.results.items():
        np.testing.assert_array_equal(record.results[name], array)


def test_data_of_the_trait_may_be_drawn_beforehand_or_in_single_precision(few):
    def draw(key: jax.Array) -> jax.Array:
        return jax.random.uniform(key, (4, 2)).astype(jnp.float32)

    drawing = replace(YOURS, trait_loss=lambda params, key: jnp.mean(apply(params, draw(key).astype(float))[:, 0] ** 2))
    given = replace(
        YOURS, draw_trait_data=draw, trait_loss=lambda params, data: jnp.mean(apply(params, data)[:, 0] ** 2)
    )
    one, other = (verify(problem, claims=["conditions"], sampling=few).results for problem in (drawing, given))
    assert list(one) == list(other)
    for name, array in one.items():
        np.testing.assert_allclose(other[name], array, rtol=1e-9, atol=1e-12)


def test_claims_run_once_each_in_the_order_of_the_theory():
    assert check_claims(["null-space", "alignment", "null-space"]) == ["alignment", "null-space"]
    assert check_claims(tuple(all_claims())) == list(all_claims())


def test_unknown_claims_are_refused_by_name():
    with pytest.raises(ValueError, match=r"unknown claims.*astrology.*choose from .*alignment"):
        verify(YOURS, claims=["astrology", "alignment"])


def test_no_problem_is_refused():
    with pytest.raises(ValueError, match="at least one problem"):
        verify()


def test_two_problems_of_one_name_are_refused():
    with pytest.raises(ValueError, match="different names"):
        verify(YOURS, replace(YOURS, imitation_loss=losses.quartic))


def test_a_folder_of_another_configuration_is_refused_before_anything_runs(few, tmp_path, monkeypatch):
    monkeypatch.setattr(Sampling, "sweep_all", lambda *arguments: pytest.fail("computed"))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="another configuration"):
        verify(YOURS, sampling=few, output=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_single_precision_is_refused_before_anything_runs():
    with jax.enable_x64(False), pytest.raises(ValueError, match="needs float64"):
        verify(YOURS, sampling=Sampling())


def test_a_trait_that_imitation_can_not_see_is_reported_and_its_null_space_holds(few):
    def initialize(key):
        return {"imitated": jax.random.normal(key, (4, 3)), "trait": jax.random.normal(key, (4, 3))}

    blind = Problem(
        apply=lambda params, inputs: inputs @ params["imitated"],
        initialize=initialize,
        draw_inputs=lambda key: jax.random.normal(key, (8, 4)),
        imitation_loss=losses.cross_entropy,
        trait_loss=lambda params, key: jnp.sum(params["trait"] ** 2),
    )
    outcome = verify(blind, claims=["alignment", "null-space"], sampling=few)
    assert [verdict.outcome for verdict in outcome.verdicts if verdict.claim != "conditions"] == ["reported", "holds"]
    assert "nothing: no instance with A > 0" in outcome.table
    assert not draw(in_memory(outcome, Path(), few.config(), {}))["figure"].axes


def test_an_init_that_no_key_changes_is_refused(few):
    fixed = replace(YOURS, initialize=lambda key: jax.tree.map(jnp.ones_like, YOURS.initialize(key)))
    with pytest.raises(ValueError, match="same for every key"):
        verify(fixed, sampling=few)


def test_claims_verified_side_by_side_give_the_same_numbers_as_one_after_the_other(monkeypatch):
    sampling = Sampling(num_seeds=8, cases="few")
    together = verify_zoo(["optimizers", "filtering"], sampling)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    alone = verify_zoo(["filtering", "optimizers"], sampling)
    assert together.table == alone.table
    assert list(together.results) == list(alone.results)
    for name, array in alone.results.items():
        np.testing.assert_array_equal(together.results[name], array)


def test_a_claim_about_the_inside_of_a_network_is_refused_for_problems_of_ones_own(few):
    with pytest.raises(ValueError, match=r"claims \['symmetry'\] need to know the inside of the network"):
        verify(YOURS, claims=["symmetry"], sampling=few)
