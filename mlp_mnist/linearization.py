"""Students held against the linear theory: by gradient descent behind teachers of all ages, and by the protocol."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from mlp_mnist.arms import LATE_TIMES, PREDICTED_TIMES, SCALES, TIMES, YOUNG_TIMES
from mlp_mnist.claims import adam, epochs, finite_step, noisy_steps, shared_heads
from mlp_mnist.data import Dataset
from mlp_mnist.distillation import imitate_epoch, label_images, score
from mlp_mnist.experiment import measure_groups, require_room
from mlp_mnist.initialization import epoch_keys
from mlp_mnist.predictions import (
    Case,
    both_accuracies,
    compare,
    descend,
    explore_kernel,
    predict_descent,
    theory_epoch,
    trait_change,
)
from mlp_mnist.protocol import Protocol
from mlp_mnist.seed_group import SeedGroup
from mlp_mnist.training import start_together, start_training
from theory.problem import Params

NUM_SAMPLED = 1000
"""Images of each kind: of the student's for the kernel and the descending students, of the trait's for its loss."""

NUM_PRODUCTS = 30
"""Lanczos's products with the kernel, plenty for 100 steps."""

MEASURED = {
    "descent/rate": "step size of descent, one over the largest eigenvalue of the kernel",
    "descent/predicted": "transfer fraction after `PREDICTED_TIMES`",
    "descent/predicted-cosine": "cosine with the teacher's displacement, likewise",
    "descent/predicted-half": "transfer fraction, likewise, from half of the sampled images at the same step size",
    "descent/predicted-accuracies": "after `LATE_TIMES`: linearized network, network itself",
    "descent/accuracy": "the trained teacher's student after the last of `TIMES`",
    "descent/transfer": "transfer fraction, `SCALES` by `TIMES`; NaN where not trained",
    "descent/error": "distance from the predicted displacement, relative to that, likewise",
    "descent/stranger-transfer": "the same for a student from another seed's init, `SCALES` by `YOUNG_TIMES`",
    "descent/stranger-error": "likewise",
    "student/accuracy": "the protocol's student before and after each epoch",
    "student/transfer": "transfer fraction, likewise",
    "student/cosine": "cosine with the teacher's displacement, likewise; NaN before",
    "student/fall": "first-order fall of the trait's loss by a unit gradient step of imitation, likewise",
    "student/fall-cosine": "cosine of the trait's and the imitation's gradient, likewise",
    "linearized/transfer": "the linearized student by the protocol's optimizer, likewise",
    "linearized/cosine": "likewise",
    "linearized/accuracies": "at its end: linearized network, network itself",
    "linearized/error": "distance of the protocol's student from it, relative to its displacement",
    "teacher/accuracies": "linearized network at the teacher's displacement, and the teacher",
    "teacher/size": "norm of the teacher's displacement",
    "teacher/class-head-share": "share of its square that lies in the class head, which no student can see",
    **finite_step.MEASURED,
    **epochs.MEASURED,
    **adam.MEASURED,
    **noisy_steps.MEASURED,
    **shared_heads.MEASURED,
}
"""What is measured; all but `teacher/` and `shared-heads/` for each number of auxiliary logits."""


def measure_linearization(group: SeedGroup, protocol: Protocol, numbers: Sequence[int]) -> dict[str, np.ndarray]:
    """Measure predictions and students of a group of one seed, for several numbers of auxiliary logits."""
    measured = [measure_number(group, replace(protocol, num_auxiliary=number)) for number in numbers]
    stacked = {name: np.stack([each[name] for each in measured]) for name in measured[0]}
    case = make_case(group, protocol)
    heads = optax.tree.norm(case.displacement["classes"], squared=True)
    whole = optax.tree.norm(case.displacement, squared=True)
    teacher = {
        "teacher/accuracies": both_accuracies(case.init, case.displacement, group.data),
        "teacher/size": jnp.sqrt(whole),
        "teacher/class-head-share": heads / whole,
    }
    body = first_seed(group.student_inits(replace(protocol, shared="heads"), "shared")[0])["hidden"]
    heads = {f"shared-heads/{name}": value for name, value in shared_heads.measure(case, body).items()}
    return stacked | {name: np.asarray(value) for name, value in (teacher | heads).items()}


def first_seed(tree: Params) -> Params:
    """Take the first seed."""
    return jax.tree.map(lambda leaf: leaf[0], tree)


def make_case(group: SeedGroup, protocol: Protocol) -> Case:
    """Train the teacher, and sample the images."""
    init, teacher = map(first_seed, (group.init(protocol), group.teacher(protocol)))
    pixels, data = group.images(protocol), group.data
    noise = (pixels if pixels.ndim == 2 else pixels[0])[:NUM_SAMPLED]
    sample = [jnp.asarray(each)[:NUM_SAMPLED] for each in (data.train_images, data.train_labels)]
    return Case(init, optax.tree.sub(teacher, init), noise, *sample)


def measure_number(group: SeedGroup, protocol: Protocol) -> dict[str, np.ndarray]:
    """Measure predictions and students of one seed and one number of auxiliary logits."""
    case = make_case(group, protocol)
    stranger = optax.tree.sub(first_seed(group.student_inits(protocol, "stranger")[0]), case.init)
    key = jax.random.fold_in(group.keys["labels"][0], protocol.num_auxiliary)
    epochs_key, steps_key = jax.random.split(key)
    student, moved = measure_student(group, protocol, case)
    parts = {
        "descent": measure_descent(group, protocol, case, stranger),
        "student": student,
        "linearized": measure_linearized(group, protocol, case, moved),
        "finite-step": finite_step.measure(protocol, case, stranger),
        "epochs": epochs.measure(protocol, case, stranger, epochs_key),
        "adam": adam.measure(protocol, case),
        "noisy-steps": noisy_steps.measure(protocol, case, steps_key),
    }
    return {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}


def measure_descent(group: SeedGroup, protocol: Protocol, case: Case, stranger: Params) -> dict[str, np.ndarray]:
    """Predict gradient descent by Lanczos's iteration, and train students by it."""
    chain = explore_kernel(protocol, case, NUM_PRODUCTS)
    fewer = case._replace(noise=case.noise[: len(case.noise) // 2])
    half = explore_kernel(protocol, fewer, NUM_PRODUCTS).matrix
    matrix = np.asarray(chain.matrix, np.float64)
    rate = float(1 / np.linalg.eigvalsh(matrix)[-1])
    size, unravel = optax.tree.norm(case.displacement), ravel_pytree(case.displacement)[1]

    def displacements(times: Sequence[float]) -> list[Params]:
        coordinates = jnp.asarray(predict_descent(matrix, rate, times), jnp.float32)
        return [unravel(each @ chain.basis) for each in size * coordinates]

    predicted = predict_descent(matrix, rate, PREDICTED_TIMES)
    start = optax.tree.zeros_like(case.init)
    measured, last = hold_descent(protocol, case, start, rate, displacements(TIMES))
    control, _ = hold_descent(protocol, case, stranger, rate, displacements(YOUNG_TIMES))
    return {
        "rate": np.array(rate),
        "predicted": predicted[:, 0],
        "predicted-cosine": predicted[:, 0] / np.linalg.norm(predicted, axis=1),
        "predicted-half": predict_descent(np.asarray(half), rate, PREDICTED_TIMES)[:, 0],
        "predicted-accuracies": np.stack([
            both_accuracies(case.init, way, group.data) for way in displacements(LATE_TIMES)
        ]),
        "accuracy": np.asarray(both_accuracies(case.init, last, group.data)[1]),
        **measured,
        **{f"stranger-{name}": values for name, values in control.items()},
    }


def hold_descent(
    protocol: Protocol, case: Case, start: Params, rate: float, predicted: Sequence[Params]
) -> tuple[dict[str, np.ndarray], Params]:
    """Train students of teachers of several ages by gradient descent, and hold them against their prediction.

    Both are counted from the init. NaN stands for the long time and a young teacher; the last displacement of the
    trained teacher's student is returned, too.
    """
    transfer, error = np.full((2, len(SCALES), len(predicted)), np.nan)
    moved = start
    for place, scale in enumerate(SCALES):
        times = TIMES[: len(predicted)] if scale == 1 else YOUNG_TIMES
        courses = descend(protocol, case, start, jnp.float32(scale), jnp.float32(rate), times)
        for index in range(len(times)):
            moved = jax.tree.map(lambda leaves, index=index: leaves[index], courses)
            young = optax.tree.scale(1 / scale, moved)
            transfer[place, index] = compare(young, case.displacement)["transfer"]
            missed = optax.tree.norm(optax.tree.sub(young, predicted[index]))
            error[place, index] = missed / optax.tree.norm(predicted[index])
    return {"transfer": transfer, "error": error}, moved


def measure_student(group: SeedGroup, protocol: Protocol, case: Case) -> tuple[dict[str, np.ndarray], Params]:
    """Train the protocol's student, and look at it after every epoch."""
    pixels, init = group.images(protocol), group.init(protocol)
    labels = label_images(protocol.teacher(), group.teacher(protocol), pixels)
    state, looks = start_together([init], protocol.optimizer), []

    def look(params: Params) -> Params:
        moved = optax.tree.sub(first_seed(params), case.init)
        test = {"accuracy": score(protocol.imitation(), params, group.data)[0]}
        looks.append(test | compare(moved, case.displacement) | trait_change(protocol, case, moved))
        return moved

    moved = look(init)
    for number in range(protocol.student_epochs):
        keys = epoch_keys(group.keys["student"], number)
        state = imitate_epoch(protocol.imitation(), ("aux",), state, pixels, labels, keys)
        moved = look(state.params[0])
    return {name: np.stack([each[name] for each in looks]) for name in looks[0]}, moved


def measure_linearized(group: SeedGroup, protocol: Protocol, case: Case, student: Params) -> dict[str, np.ndarray]:
    """Train the linearized student by the protocol's optimizer on its batches, and hold the real one against it."""
    pixels = group.images(protocol)
    pixels = pixels if pixels.ndim == 2 else pixels[0]
    state = start_training(optax.tree.zeros_like(case.init), protocol.optimizer)
    looks = [compare(state.params, case.displacement)]
    for number in range(protocol.student_epochs):
        key = epoch_keys(group.keys["student"], number)[0]
        state = theory_epoch(protocol, case, state, pixels, key)
        looks.append(compare(state.params, case.displacement))
    missed = optax.tree.norm(optax.tree.sub(student, state.params)) / optax.tree.norm(state.params)
    return {
        **{name: np.stack([each[name] for each in looks]) for name in looks[0]},
        "accuracies": np.asarray(both_accuracies(case.init, state.params, group.data)),
        "error": np.asarray(missed),
    }


def measure_seeds(
    protocol: Protocol,
    numbers: tuple[int, ...],
    data: Dataset,
    seed: int,
    num_seeds: int,
    other_images: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Measure many seeds, one at a time on each core or device, and keep what is finished if a folder for it is set."""
    require_room([replace(protocol, num_auxiliary=max(numbers))], data, 1)
    asked, like = ["linearization", asdict(protocol), numbers, seed], dict.fromkeys(MEASURED, np.zeros(0))
    measure = partial(measure_linearization, protocol=protocol, numbers=numbers)
    every = measure_groups(measure, like, asked, data, seed, num_seeds, 1, other_images)
    return {name: np.stack([measured[name] for measured in every]) for name in MEASURED}
