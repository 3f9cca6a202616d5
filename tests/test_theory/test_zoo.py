"""The zoo: each case is one step from the reference, and has the inputs and sizes that it says."""

from dataclasses import fields, replace

import jax
import numpy as np
import pytest

from theory import Sampling, zoo

CASES = (zoo.REFERENCE, *zoo.NEIGHBORS)


def changed(case: zoo.Case) -> set[str]:
    names = {field.name for field in fields(zoo.Case)} - {"name"}
    return {name for name in names if getattr(case, name) != getattr(zoo.REFERENCE, name)}


@pytest.mark.parametrize("case", zoo.NEIGHBORS, ids=lambda case: case.name)
def test_a_neighbor_differs_in_one_factor_or_in_two_that_its_name_joins(case):
    assert len(changed(case)) == 1 + case.name.count(",")


def test_no_two_cases_have_one_name_or_the_same_ingredients():
    assert len({case.name for case in CASES}) == len(CASES)
    assert len({replace(case, name="") for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_maps_thirty_two_inputs_to_six_outputs_and_a_trait_in_double_precision(case):
    problem = zoo.build(case)
    key = jax.random.key(0)

    def evaluate(key):
        params = problem.initialize(key)
        trait_loss = problem.trait_loss(params, problem.draw_trait_data(key))
        return problem.apply(params, problem.draw_inputs(key)), trait_loss

    outputs, trait = jax.eval_shape(evaluate, key)
    assert outputs.shape == (zoo.BATCH, zoo.NUM_OUTPUTS)
    assert trait.shape == ()
    assert outputs.dtype == trait.dtype == np.dtype(float)


@pytest.mark.parametrize("network", ["perceptron", "convolution", "attention"])
def test_networks_are_of_about_one_size(network):
    shapes = jax.eval_shape(zoo.variant("", network=network).initialize, jax.random.key(0))
    assert 400 < sum(leaf.size for leaf in jax.tree.leaves(shapes)) < 800


def test_inputs_are_what_their_names_say():
    key = jax.random.key(0)
    drawn = {name: np.asarray(draw(key)) for name, draw in zoo.INPUTS.items()}
    assert {array.shape for array in drawn.values()} == {(zoo.BATCH, zoo.NUM_FEATURES)}
    assert drawn["Gaussian"].min() < 0 <= drawn["uniform"].min()
    assert drawn["uniform"].max() < 1
    assert np.linalg.matrix_rank(drawn["structured"], tol=1e-10) == 2
    assert np.all(drawn["constant"] == 1)


def test_few_cases_are_some_of_all_and_begin_with_the_reference():
    for choose in (zoo.neighborhood, zoo.spread):
        few, every = (choose(Sampling(cases=cases)) for cases in ("few", "all"))
        assert len(few) < len(every)
        assert {problem.name for problem in few} <= {problem.name for problem in every}
        assert few[0] is every[0] is zoo.build(zoo.REFERENCE)
    assert [problem.name for problem in zoo.neighborhood(Sampling())] == [case.name for case in CASES]
