"""Too little memory is one line that names the knob; nearly all of a GPU's is used unless the user said otherwise."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from theory.runs.command_line import InputError
from theory.runs.memory import NEARLY_ALL, fitting, process_memory, use_nearly_all

NEW, OLD = "XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"


@pytest.mark.parametrize(
    ("told", "then"),
    [
        ({}, {NEW: NEARLY_ALL}),
        ({NEW: "0.5"}, {NEW: "0.5"}),
        ({OLD: "0.5"}, {OLD: "0.5"}),
    ],
    ids=["nothing", "by its name", "by its old name"],
)
def test_nearly_all_memory_is_used_unless_the_user_said_how_much(monkeypatch, told, then):
    """JAX refuses to start if both names are set."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "environ", environment := dict(told))
        use_nearly_all()
    assert environment == then
    assert 0.75 < float(NEARLY_ALL) < 1


@pytest.mark.parametrize(
    "error",
    [
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes."),
        RuntimeError("CUDA out of memory. Tried to allocate 9.00 GiB."),
    ],
    ids=["JAX", "torch"],
)
def test_too_little_memory_is_one_line_that_says_what_did_not_fit_and_what_to_do(error):
    with pytest.raises(InputError) as caught, fitting("a step of 4 rows", "take fewer --rows"):
        raise error
    assert str(caught.value) == "a step of 4 rows doesn't fit the device's memory: take fewer --rows"
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [RuntimeError("INTERNAL: 9 bytes"), ValueError("out of memory"), InputError("no")])
def test_any_other_error_is_left_as_it_is(error):
    with pytest.raises(type(error)) as caught, fitting("a step", "take less"):
        raise error
    assert caught.value is error


def test_memory_of_a_process_counts_what_is_free_again_and_nothing_of_the_process_that_started_it():
    np.ones(2**26)
    assert process_memory() > 2**29
    program = "from theory.runs.memory import process_memory; print(process_memory())"
    ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert 2**25 < int(ended.stdout) < 2**29
