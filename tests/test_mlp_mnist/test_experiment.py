import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from mlp_mnist import experiment
from mlp_mnist.arms import Arm, Measured
from mlp_mnist.data import Dataset
from mlp_mnist.protocol import Protocol
from mlp_mnist.seed_group import SeedGroup
from theory.runs.chunks import kept_in
from theory.runs.command_line import InputError

ARMS = [Arm("shared", "aux"), Arm("stranger", "aux")]
TWO_DEVICES = """
import sys
from pathlib import Path

import jax
import numpy as np

from mlp_mnist import experiment
from mlp_mnist.data import Dataset
from mlp_mnist.protocol import Protocol
from mlp_mnist.arms import Arm

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_disable_most_optimizations", True)
assert len(jax.local_devices()) == 2
with np.load(sys.argv[1]) as file:
    data = Dataset(**file)
sizes = dict(hidden=(16, 16), num_images=200, batch_size=64)
protocol = Protocol(teacher_epochs=1, student_epochs=1, learning_rate=1e-2, **sizes)
measured = experiment.run_seeds([protocol], [Arm("shared", "aux"), Arm("stranger", "aux")], data, 5, 2)
np.savez(sys.argv[2], **measured._asdict())
"""


NUM_WORKERS = experiment.num_workers


@pytest.fixture(autouse=True, scope="module")
def one_after_the_other() -> Iterator[None]:
    """Groups side by side would compile every program twice; on two devices they do run so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "num_workers", lambda num_groups: 1)
        yield


@pytest.fixture(scope="module")
def three(protocol: Protocol, dataset: Dataset) -> Measured:
    return experiment.run_seeds([protocol], ARMS, dataset, seed=5, num_seeds=3)


@pytest.fixture
def brief(protocol: Protocol) -> Protocol:
    return replace(protocol, teacher_epochs=1, student_epochs=1)


@pytest.fixture
def run(brief: Protocol, dataset: Dataset) -> Callable[..., Measured]:
    """Run for one epoch each."""

    def run_briefly(*points: Protocol, seed: int = 5, num_seeds: int = 2) -> Measured:
        return experiment.run_seeds(points or [brief], ARMS, dataset, seed, num_seeds)

    return run_briefly


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """First seeds of the groups that are made."""
    started, init = [], SeedGroup.__init__

    def watch(self: SeedGroup, data: Dataset, others: jax.Array | None, root: jax.Array, indices: jax.Array) -> None:
        started.append(int(indices[0]))
        init(self, data, others, root, indices)

    monkeypatch.setattr(SeedGroup, "__init__", watch)
    return started


def assert_same(left: Measured, right: Measured) -> None:
    for one, other in zip(left, right, strict=True):
        assert_array_equal(one, other)


def test_results_have_an_entry_for_every_point_seed_and_arm(three):
    assert three.reference.shape == three.teacher.shape == (1, 3)
    assert three.students.shape == three.cosines.shape == (1, 3, len(ARMS))
    assert all(np.all((field >= 0) & (field <= 1)) for field in three[:3])
    assert np.all(np.abs(three.cosines) <= 1)


def test_the_teacher_learns_and_its_own_students_go_its_way(three):
    assert np.all(three.teacher > three.reference + 0.3)
    shared, stranger = three.cosines.mean(axis=(0, 1))
    assert shared > stranger + 0.1


def test_seeds_and_arms_differ_from_each_other(three):
    assert len(np.unique(three.cosines)) == three.cosines.size


def test_a_seed_is_bitwise_the_same_alone_as_beside_others(three, protocol, grouped):
    for seed in range(3):
        alone = grouped(seed).measure(protocol, ARMS)
        assert_same(alone, Measured(*(field[0, seed : seed + 1] for field in three)))


def test_fewer_seeds_are_bitwise_the_first_of_more(three, protocol, dataset):
    one = experiment.run_seeds([protocol], ARMS, dataset, seed=5, num_seeds=1)
    assert_same(one, Measured(*(field[:, :1] for field in three)))


def test_points_are_measured_each_as_if_alone(run, brief):
    other = replace(brief, shared="heads")
    both = run(brief, other)
    for place, point in enumerate((brief, other)):
        assert_same(run(point), Measured(*(field[place : place + 1] for field in both)))
    assert_array_equal(*both.teacher)
    assert np.all(both.cosines[0, :, 0] != both.cosines[1, :, 0])
    assert_array_equal(both.cosines[0, :, 1], both.cosines[1, :, 1], err_msg="strangers share nothing anyway")


def test_groups_of_two_are_groups_of_one_to_rounding_and_what_fills_up_the_last_is_cut(run, monkeypatch):
    """Adam magnifies rounding in gradients near zero; one test image is 1/200."""
    singly = run(num_seeds=3)
    monkeypatch.setitem(experiment.GROUP, "cpu", 2)
    in_pairs = run(num_seeds=3)
    for one, two in zip(singly, in_pairs, strict=True):
        assert one.shape == two.shape
        np.testing.assert_allclose(two, one, rtol=0, atol=1.001 / 200)
    np.testing.assert_allclose(in_pairs.cosines, singly.cosines, rtol=0, atol=1e-4)
    assert np.ptp(singly.cosines) > 0.01


def test_two_devices_give_what_one_gives(run, dataset, tmp_path):
    np.savez(tmp_path / "data.npz", **dataset._asdict())
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    command = [sys.executable, "-W", "error", "-c", TWO_DEVICES, str(tmp_path / "data.npz"), str(tmp_path / "two.npz")]
    subprocess.run(command, check=True, env=os.environ | {"XLA_FLAGS": flags}, cwd=Path(__file__).parents[2])
    one = run(num_seeds=2)
    with np.load(tmp_path / "two.npz") as two:
        assert_same(Measured(**two), one)


def test_an_interrupted_run_goes_on_where_it_was_and_ends_the_same(run, computed, tmp_path):
    whole, measure = run(num_seeds=3), SeedGroup.measure

    def die_at_two(self: SeedGroup, *arguments: Any) -> Measured:
        if computed[-1] == 2:
            raise RuntimeError("killed")
        return measure(self, *arguments)

    with kept_in(tmp_path / "chunks"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(SeedGroup, "measure", die_at_two)
        with pytest.raises(RuntimeError, match="killed"):
            run(num_seeds=3)
        patch.undo()
        computed.clear()
        resumed = run(num_seeds=3)
        assert computed == [2]
        again = run(num_seeds=3)
        assert computed == [2]
    assert not (tmp_path / "chunks").exists()
    for kept in (resumed, again):
        assert_same(kept, whole)


@pytest.mark.parametrize("name", ["protocol", "root", "images", "arms", "group size"])
def test_what_another_configuration_kept_is_not_taken(name, brief, dataset, computed, tmp_path, monkeypatch):
    arguments = {"points": [brief], "arms": [Arm("shared", "aux")], "data": dataset, "seed": 5, "num_seeds": 1}
    brighter = dataset._replace(train_images=dataset.train_images // 2)
    changes = {
        "protocol": {"points": [replace(brief, student_learning_rate=0.5)]},
        "root": {"seed": 6},
        "images": {"data": brighter},
        "arms": {"arms": [Arm("shared", "all")]},
        "group size": {},
    }
    monkeypatch.setattr(SeedGroup, "measure", lambda self, point, arms: Measured(*[np.zeros((1, 1))] * 4))
    with kept_in(tmp_path / "chunks"):
        for _ in range(2):
            experiment.run_seeds(**arguments)
        assert computed == [0]
        if name == "group size":
            monkeypatch.setitem(experiment.GROUP, "cpu", 2)
        experiment.run_seeds(**arguments | changes[name])
        assert computed == [0, 0]


def test_a_damaged_chunk_is_computed_again(run, computed, tmp_path):
    with kept_in(tmp_path / "chunks"):
        first = run(num_seeds=1)
        (chunk,) = (tmp_path / "chunks").glob("*.npz")
        chunk.write_bytes(chunk.read_bytes()[:-30])
        assert_same(run(num_seeds=1), first)
    assert computed == [0, 0]


def test_a_failing_group_stops_the_run(run, monkeypatch):
    def refuse(*arguments: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(SeedGroup, "measure", refuse)
    with pytest.raises(MemoryError, match="no room"):
        run(num_seeds=4)


@pytest.mark.parametrize(("num_groups", "most"), [(1, 1), (1000, max(2, os.cpu_count() or 1))])
def test_groups_run_side_by_side_up_to_the_number_of_cores(num_groups, most):
    assert 1 <= NUM_WORKERS(num_groups) <= most


def test_groups_of_the_real_size_give_the_same_bits_in_two_threads_as_in_one(monkeypatch):
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (2048, 784), np.uint8), random.integers(0, 10, 2048, np.int32)
    data = Dataset(images, labels, images[:500], labels[:500])
    published = Protocol(num_images=2048, teacher_epochs=1, student_epochs=1)
    monkeypatch.setattr(experiment, "group_size", lambda: 2)
    one, two = (
        monkeypatch.setattr(experiment, "num_workers", lambda _, workers=workers: workers)
        or experiment.run_seeds([published], ARMS, data, seed=0, num_seeds=4)
        for workers in (1, 2)
    )
    assert_same(one, two)


def test_more_seeds_than_memory_holds_are_refused_at_once(run):
    with pytest.raises(InputError, match="1000000000 seeds don't fit in memory, take fewer"):
        run(num_seeds=10**9)
