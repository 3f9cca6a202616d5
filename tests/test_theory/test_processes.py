"""Many devices and many processes give the same numbers as one, and whoever is missing is named in a line."""

import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from theory import zoo
from theory.claims import null_space
from theory.experiments import experiment
from theory.runs.command_line import InputError
from theory.runs.processes import Processes, from_slurm, joined, meet
from theory.runs.sweeps import sweep

STEPS = (1e-5, 1e-4, 1e-3)
MEASURE = experiment(zoo.variant("small", hidden=()), null_space.measure, teacher_steps=STEPS)

SCRIPT = """
import json, sys
import jax
from jax.random import key_data
jax.config.update("jax_enable_x64", True)
from theory import Sampling, zoo
from theory.claims import null_space
from theory.experiments import experiment
from theory.runs.processes import Processes, agreed, joined

options = Processes(**json.loads(sys.argv[1]))
with joined(options, patience=60):
    measure = experiment(zoo.variant("small", hidden=()), null_space.measure, teacher_steps=(1e-5, 1e-4, 1e-3))
    results = Sampling(num_seeds=77).sweep_all({"keys": lambda key: (key_data(key),), "one": measure}, "test")
    assert agreed(jax.process_index() == 0)
    flat = [[leaf.tolist() for leaf in result] for result in results.values()]
    print(json.dumps([jax.device_count(), jax.local_device_count(), flat]))
"""


def free_port() -> int:
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


def start(local_devices: int, **options: object) -> tuple[int, int, list]:
    """Run the sweep in a process of its own; its stdout must be the result alone."""
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(local_devices)}
    arguments = [sys.executable, "-c", SCRIPT, json.dumps(options)]
    run = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def alone() -> null_space.NullSpace:
    return sweep(MEASURE, 0, 77)


def assert_same_to_rounding(results: list, alone: null_space.NullSpace) -> None:
    (keys,), measured = results
    root = jax.random.key(0)
    np.testing.assert_array_equal(keys, [jax.random.key_data(jax.random.fold_in(root, index)) for index in range(77)])
    for one, other in zip(measured, alone, strict=True):
        assert np.shape(one) == other.shape
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)


def test_eight_devices_give_the_numbers_of_one(alone):
    devices, local, results = start(8)
    assert (devices, local) == (8, 8)
    assert_same_to_rounding(results, alone)


def test_two_processes_of_four_devices_give_the_numbers_of_one(alone):
    coordinator = f"127.0.0.1:{free_port()}"
    with ThreadPoolExecutor() as pool:
        runs = pool.map(lambda one: start(4, coordinator=coordinator, num_processes=2, process_id=one), (0, 1))
    for devices, local, results in runs:
        assert (devices, local) == (8, 4)
        assert_same_to_rounding(results, alone)


@pytest.mark.parametrize("process_id", [0, 1])
def test_a_process_whose_peers_do_not_come_gives_up_with_a_clear_line(process_id):
    options = Processes(coordinator=f"127.0.0.1:{free_port()}", num_processes=2, process_id=process_id)
    began = time.monotonic()
    with (
        pytest.raises(InputError, match=r"could not meet the others at 127.0.0.1:\d+ within 1 s"),
        joined(options, 1.0),
    ):
        pytest.fail("met nobody")
    assert time.monotonic() - began < 5


def test_an_address_that_no_machine_has_is_refused_with_a_clear_line():
    options = Processes(coordinator="nowhere.invalid:1234", num_processes=2, process_id=1)
    with pytest.raises(InputError, match="start all of them"), joined(options, 1.0):
        pytest.fail("met nobody")


def test_two_processes_of_one_number_are_refused_by_the_first():
    port = free_port()
    with ThreadPoolExecutor() as pool:
        twins = [pool.submit(meet, f"127.0.0.1:{port}", 3, 1, 2.0) for _ in range(2)]
        with pytest.raises(InputError, match=r"process '1 of 3' called, but \['2 of 3'\] were awaited"):
            meet(f"127.0.0.1:{port}", 3, 0, 5.0)
        assert all(twin.exception() for twin in twins)


@pytest.mark.parametrize(
    "fields",
    [
        {"coordinator": "localhost:1234"},
        {"num_processes": 2, "process_id": 0},
        {"coordinator": "localhost", "num_processes": 2, "process_id": 0},
        {"coordinator": "localhost:99999", "num_processes": 2, "process_id": 0},
        {"coordinator": "localhost:1234", "num_processes": 0, "process_id": 0},
        {"coordinator": "localhost:1234", "num_processes": 2, "process_id": 2},
    ],
)
def test_half_an_address_or_a_number_out_of_range_is_refused(fields):
    with pytest.raises(ValueError, match="must be"):
        Processes(**fields)


@pytest.mark.parametrize(
    ("nodes", "host"),
    [("gpu7", "gpu7"), ("gpu[03-05,9]", "gpu03"), ("gpu[3,9]", "gpu3"), ("alpha,beta[1-2]", "alpha")],
)
def test_slurm_names_the_first_node_and_the_same_port_for_every_task(nodes, host):
    step = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NODELIST": nodes, "SLURM_JOB_ID": "12345", "SLURM_PROCID": "3"}
    assert from_slurm(step) == Processes(coordinator=f"{host}:{61440 + 57}", num_processes=4, process_id=3)


@pytest.mark.parametrize("environment", [{}, {"SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_NODELIST": "gpu7"}])
def test_one_task_needs_nobody(environment):
    assert from_slurm(environment) == Processes()
