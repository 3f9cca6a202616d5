"""Errors planted in the theory, one at a time: which verdict and which test catches each.

`uv run python tests/planted_errors.py [NAME …]` plants them in copies of the theory and its tests, asks both, and
prints a table. What none may catch says why. `tests/test_theory/test_planted_errors.py` keeps their texts true.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).parents[1]

FAST = {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "XLA_FLAGS": "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
    "TQDM_DISABLE": "1",
}
"""Settings under which small programs compile in half of the time."""


class Error(NamedTuple):
    """An error, and who is asked about it."""

    name: str
    """What is wrong, in words."""
    file: str
    """Where, below `theory/`."""
    right: str
    """What stands there, exactly once."""
    wrong: str
    """What replaces it."""
    claims: tuple[str, ...]
    """Claims whose verdicts are asked."""
    tests: tuple[str, ...]
    """Files of `tests/test_theory/` that are asked, without their ending."""
    no_verdict: str = ""
    """Why no verdict can catch it, where that is so."""
    no_test: str = ""
    """Why no test can."""
    seeds: int = 64
    """Instances of each case behind the verdicts."""


REFUSAL = "RuntimeError: "
"""How a line begins in which a sweep refuses its own instances."""

LENIENT = "a judge that errs in favor of what it judges passes whatever is true"
"""Why verdicts say nothing of a judge that is too mild."""

ERRORS = (
    Error(
        "mean over inputs is a sum",
        "predictions.py",
        "return jnp.mean(jnp.sum(student.change * response, axis=-1))",
        "return jnp.sum(jnp.sum(student.change * response, axis=-1))",
        ("alignment",),
        ("test_predictions",),
    ),
    Error(
        "sign of M",
        "predictions.py",
        "return -response",
        "return response",
        ("conditions",),
        ("test_predictions",),
    ),
    Error(
        "M at the student's p, not the teacher's",
        "predictions.py",
        "problem.imitation_loss, student.outputs, teacher.outputs, teacher.change",
        "problem.imitation_loss, student.outputs, student.outputs, teacher.change",
        ("different-initialization",),
        ("test_predictions",),
    ),
    Error(
        "teacher's Jacobian at the student's init",
        "predictions.py",
        "teacher = output_change(as_teacher(problem), instance.teacher, instance.inputs, teacher_direction)",
        "teacher = output_change(as_teacher(problem), instance.student, instance.inputs, teacher_direction)",
        ("different-initialization",),
        ("test_predictions",),
    ),
    Error(
        "channels transposed",
        "predictions.py",
        "student_changes[:, None] * responses[None]",
        "student_changes[None] * responses[:, None]",
        ("channels",),
        ("test_channels",),
    ),
    Error(
        "natural unit without its square root",
        "predictions.py",
        "jnp.sqrt(square / move), jnp.inf)",
        "square / move, jnp.inf)",
        ("alignment", "trait-loss"),
        ("test_predictions",),
        no_verdict="a unit only says at which steps one looks, and laws hold at all small ones",
    ),
    Error(
        "trait descent goes up",
        "problem.py",
        "optax.tree.scale(-1.0, jax.grad(problem.trait_loss)(params, trait_data))",
        "optax.tree.scale(1.0, jax.grad(problem.trait_loss)(params, trait_data))",
        ("trait-loss",),
        ("test_problems",),
    ),
    Error(
        "student descends the sum over inputs",
        "problem.py",
        "return jnp.mean(jax.vmap(problem.imitation_loss)(problem.apply(params, inputs), labels))",
        "return jnp.sum(jax.vmap(problem.imitation_loss)(problem.apply(params, inputs), labels))",
        ("initialization-distance",),
        ("test_problems",),
    ),
    Error(
        "teacher starts at the student's init",
        "problem.py",
        "teacher = optax.tree.add_scale(instance.teacher, teacher_step, direction)",
        "teacher = optax.tree.add_scale(instance.student, teacher_step, direction)",
        ("channels",),
        ("test_problems",),
    ),
    Error(
        "a stranger shares the init: a control that is the claim",
        "problem.py",
        "student = teacher if shared else run(problem.initialize, student_key)",
        "student = teacher if shared else run(problem.initialize, teacher_key)",
        ("alignment",),
        ("test_problems",),
    ),
    Error(
        "inputs drawn from the trait's key",
        "problem.py",
        "run(problem.draw_inputs, inputs_key)",
        "run(problem.draw_inputs, data_key)",
        ("alignment",),
        ("test_problems",),
        no_verdict="every statement holds on any inputs, the trait's own among them",
    ),
    Error(
        "one input too many",
        "problem.py",
        "jnp.arange(len(instance.inputs)) % num_inputs",
        "jnp.arange(len(instance.inputs)) % (num_inputs + 1)",
        ("dimensions",),
        ("test_limits", "test_many_steps"),
    ),
    Error(
        "fast student climbs",
        "one_step.py",
        "pull_back(-slopes)",
        "pull_back(slopes)",
        ("alignment",),
        ("test_one_step",),
    ),
    Error(
        "stretched loss is the loss: a control that is the claim",
        "one_step.py",
        "partial(experiment, outside, measure_with_rounding)",
        "partial(experiment, problem, measure_with_rounding)",
        ("alignment",),
        ("test_alignment", "test_trait_loss"),
    ),
    Error(
        "sign of the bending",
        "curvature.py",
        "-learning_rate * self.bending + learning_rate**2 * self.climb",
        "learning_rate * self.bending + learning_rate**2 * self.climb",
        ("how-small",),
        ("test_how_small",),
    ),
    Error(
        "third derivative of the loss dropped",
        "curvature.py",
        "return response + second_derivative_along(descent, outputs, change)",
        "return response",
        ("how-small",),
        ("test_how_small",),
    ),
    Error(
        "end of the decrease without its factor 2",
        "curvature.py",
        "return -2 * self.first_derivative(learning_rate)",
        "return -self.first_derivative(learning_rate)",
        ("ends",),
        ("test_ends",),
    ),
    Error(
        "one step of training too few",
        "tangent_kernel.py",
        "jnp.diff(jnp.array((0, *times)))",
        "jnp.diff(jnp.array((1, *times)))",
        ("many-steps",),
        ("test_tangent_kernel",),
    ),
    Error(
        "transfer fraction a step late",
        "tangent_kernel.py",
        "return 1 - matrix_power(decay, steps)[0, 0]",
        "return 1 - matrix_power(decay, steps - 1)[0, 0]",
        ("many-steps",),
        ("test_tangent_kernel",),
    ),
    Error(
        "student that never arrives",
        "tangent_kernel.py",
        "product(optax.tree.sub(direction, moved))",
        "product(direction)",
        ("many-steps",),
        ("test_tangent_kernel",),
    ),
    Error(
        "steps on labels climb",
        "labels.py",
        "return -slopes",
        "return slopes",
        ("filtering",),
        ("test_sampled_labels",),
    ),
    Error(
        "adapters of variance 1, not 1/r",
        "adapters.py",
        "jnp.sqrt(variance / rank)",
        "jnp.sqrt(variance)",
        ("low-rank",),
        ("test_low_rank",),
    ),
    Error(
        "one key for the adapters of all matrices",
        "adapters.py",
        "keys = jax.random.split(key, len(leaves))",
        "keys = [key] * len(leaves)",
        ("low-rank",),
        ("test_low_rank",),
        no_verdict="what two matrices then add to the variance has either sign, and averages out over instances",
        seeds=512,
    ),
    Error(
        "skew part symmetric: a control that is the claim",
        "optimizers.py",
        "(jnp.roll(signs * flat, 1) - jnp.roll(signs * flat, -1))",
        "(jnp.roll(signs * flat, 1) + jnp.roll(signs * flat, -1))",
        ("optimizers",),
        ("test_optimizers",),
    ),
    Error(
        "critical condition number without cos φ",
        "optimizers.py",
        "return (1 + cosine) / (1 - cosine)",
        "return 1 / (1 - cosine)",
        ("optimizers",),
        ("test_optimizers",),
    ),
    Error(
        "worst matrix shrinks where it should stretch",
        "optimizers.py",
        "amount * inner_product(axis, direction), axis)",
        "-amount * inner_product(axis, direction), axis)",
        ("optimizers",),
        ("test_optimizers",),
    ),
    Error(
        "outgoing weights multiplied, not divided",
        "symmetries.py",
        'above["kernel"][order] / factor[:, None]',
        'above["kernel"][order] * factor[:, None]',
        ("rescaling",),
        ("test_symmetry",),
    ),
    Error(
        "incoming weights left in their order",
        "symmetries.py",
        'layer["kernel"][:, order] * factor[None, :]',
        'layer["kernel"] * factor[None, :]',
        ("symmetry",),
        ("test_symmetry",),
    ),
    Error(
        "zero sought one place late",
        "step_limits.py",
        "bracket = steps[index], steps[index + 1], values[index], values[index + 1]",
        "bracket = steps[index + 1], steps[index + 2], values[index + 1], values[index + 2]",
        ("ends",),
        ("test_ends",),
    ),
    Error(
        "derivatives on an interval twice as long",
        "step_limits.py",
        "return 2.0**order * chebyshev.chebvander",
        "return chebyshev.chebvander",
        ("ends",),
        ("test_ends",),
    ),
    Error(
        "half of the third-order share",
        "decrease.py",
        "share = jnp.abs(end / (3 * curvature))",
        "share = jnp.abs(end / (6 * curvature))",
        ("ends",),
        ("test_ends",),
    ),
    Error(
        "quartic penalty quadratic: a control that is the claim",
        "decrease.py",
        "quartic * square**2 / 4",
        "quartic * square / 4",
        ("ends",),
        ("test_ends",),
    ),
    Error(
        "unit of the noise without A",
        "displaced_inits.py",
        "jnp.where(units.visible, curvature / positive, 1.0)",
        "jnp.where(units.visible, 1 / positive, 1.0)",
        ("initialization-distance",),
        ("test_initialization_distance",),
    ),
    Error(
        "noise keeps its height",
        "displaced_inits.py",
        "height - inner_product(noise, around.uphill)",
        "height",
        ("initialization-distance",),
        ("test_initialization_distance",),
    ),
    Error(
        "temperature rescaled by τ, not τ²",
        "losses.py",
        "factor = temperature**2 if rescaled else 1.0",
        "factor = temperature if rescaled else 1.0",
        ("imitation-losses",),
        ("test_losses",),
    ),
    Error(
        "stretched by nothing: a control that is the claim",
        "losses.py",
        "loss(student, 1.5 * teacher)",
        "loss(student, 1.0 * teacher)",
        ("trait-loss",),
        ("test_alignment", "test_losses"),
    ),
    Error(
        "Fisher information without pp'",
        "loss_table.py",
        "return p * (change - jnp.dot(p, change))",
        "return p * change",
        ("imitation-losses",),
        ("test_imitation_losses",),
    ),
    Error(
        "response to a power without its exponent",
        "loss_table.py",
        "exponent * jnp.abs(change) ** (exponent - 1)",
        "jnp.abs(change) ** (exponent - 1)",
        ("imitation-losses",),
        ("test_imitation_losses",),
    ),
    Error(
        "signs of the head negated in part",
        "claims/signs.py",
        ".multiply(-1)",
        ".multiply(-0.5)",
        ("signs",),
        ("test_problems",),
    ),
    Error(
        "worst order without Bonferroni",
        "runs/checks.py",
        "confidence = joint_confidence(max(1, len(columns)))",
        "confidence = joint_confidence(1)",
        ("trait-loss",),
        ("test_checks",),
        no_verdict="orders lie so close together that their intervals agree at any level",
    ),
    Error(
        "ratio at the largest step",
        "runs/checks.py",
        "return self.measured[self.visible, ..., 0] / self.leading[self.visible, ..., 0]",
        "return self.measured[self.visible, ..., -1] / self.leading[self.visible, ..., -1]",
        ("alignment",),
        ("test_checks",),
    ),
    Error(
        "the best of the joint intervals",
        "runs/checks.py",
        "return min(estimates, key=",
        "return max(estimates, key=",
        ("sampled-labels",),
        ("test_checks",),
    ),
    Error(
        "controls among the cases",
        "runs/checks.py",
        "for name, case in self.cases.items() if CONTROL not in name}",
        "for name, case in self.cases.items()}",
        ("alignment",),
        ("test_checks",),
    ),
    Error(
        "a hull that keeps the best",
        "runs/statistics.py",
        "float(worst), float(np.min(table[:, 1])), float(np.max(table[:, 2]))",
        "*map(float, table[np.argmin(np.abs(table[:, 0] - predicted))])",
        ("trait-loss",),
        ("test_statistics",),
        no_verdict=LENIENT,
    ),
    Error(
        "order fitted through the origin",
        "runs/statistics.py",
        "logs = np.where(seen, logs - logs.sum(axis=-1, keepdims=True) / num_seen, 0.0)",
        "logs = np.where(seen, logs, 0.0)",
        ("filtering",),
        ("test_statistics",),
    ),
    Error(
        "rounding fitted as a remainder",
        "runs/statistics.py",
        "seen = ~(np.abs(remainders) < ABOVE_ROUNDING * np.expand_dims(rounding, -1))",
        "seen = ~(np.abs(remainders) < 0 * np.expand_dims(rounding, -1))",
        ("sampled-labels",),
        ("test_statistics",),
    ),
    Error(
        "deviation for the error of a mean",
        "runs/statistics.py",
        "error = float(np.std(samples, ddof=1)) / np.sqrt(len(samples))",
        "error = float(np.std(samples, ddof=1))",
        ("low-rank", "sampled-labels"),
        ("test_statistics",),
    ),
    Error(
        "orders fitted to the large steps",
        "runs/sweeps.py",
        "small = slice(self.num_fitted)",
        "small = slice(self.num_fitted, None)",
        ("filtering",),
        ("test_sweeps",),
    ),
    Error(
        "all instances are one",
        "runs/programs.py",
        "(jax.random.key(self.seed), indices)",
        "(jax.random.key(self.seed), indices * 0)",
        ("filtering",),
        ("test_sweeps",),
    ),
    Error(
        "control dropped in the judge",
        "runs/verdicts.py",
        'return "holds" if self.accepted.admits(self.measured) and self.control_flips is not False else "fails"',
        'return "holds" if self.accepted.admits(self.measured) else "fails"',
        ("filtering",),
        ("test_verdicts",),
        no_verdict=LENIENT,
    ),
    Error(
        "ε left out of the prediction",
        "claims/alignment.py",
        "Comparison(one.predicted[:, None] * one.steps, one.measured,",
        "Comparison(one.predicted[:, None] * one.steps**0, one.measured,",
        ("alignment",),
        ("test_alignment",),
    ),
    Error(
        "change of the trait loss predicted upwards",
        "claims/trait_loss.py",
        "predicted = -one.curvature[:, None]",
        "predicted = one.curvature[:, None]",
        ("trait-loss",),
        ("test_trait_loss",),
    ),
    Error(
        "spread of adapters: S not symmetrized",
        "claims/low_rank.py",
        "jnp.sum(((product + product.T) / 2) ** 2)",
        "jnp.sum(product**2)",
        ("low-rank",),
        ("test_low_rank",),
        seeds=512,
    ),
    Error(
        "spread of adapters: S of the outputs",
        "claims/low_rank.py",
        "product = moved @ taught.T",
        "product = moved.T @ taught",
        ("low-rank",),
        ("test_low_rank",),
        seeds=2048,
    ),
    Error(
        "KL reversed",
        "labels.py",
        "ratio * jnp.exp(ratio) - jnp.expm1(ratio)",
        "jnp.expm1(ratio) - ratio",
        ("sampled-labels",),
        ("test_sampled_labels",),
    ),
    Error(
        "mean drift halved",
        "claims/sampled_labels.py",
        "mean_drift=(skewness + bend) / 2,",
        "mean_drift=(skewness + bend) / 4,",
        ("sampled-labels",),
        ("test_sampled_labels",),
    ),
    Error(
        "one generator for all data sets",
        "data_sets.py",
        "np.random.default_rng(seed)",
        "np.random.default_rng(0)",
        ("sampled-labels",),
        ("test_sampled_labels",),
        no_verdict="labels of other teachers on other inputs are hardly alike even if drawn from the same numbers",
    ),
    Error(
        "half of the nats",
        "data_sets.py",
        "stats.norm.cdf(np.sqrt(2 * cell.nats))",
        "stats.norm.cdf(np.sqrt(cell.nats))",
        ("sampled-labels",),
        ("test_sampled_labels",),
    ),
    Error(
        "measured trait matrix transposed",
        "claims/trait_matrix.py",
        "changes = jnp.moveaxis(falls[:, 1:], 1, 2)",
        "changes = jnp.moveaxis(falls[:, 1:], 1, 2)\n    changes = changes.at[:-1].set(changes[:-1].swapaxes(0, 1))",
        ("trait-matrix",),
        ("test_trait_matrix",),
        no_verdict="it is symmetric: that is the claim",
    ),
    Error(
        "mixture of traits unweighted",
        "claims/trait_matrix.py",
        'jnp.einsum("t,t...->...", jnp.array(MIXTURE), leaves)',
        "jnp.sum(leaves, axis=0)",
        ("trait-matrix",),
        ("test_trait_matrix",),
    ),
    Error(
        "ε = 0 student not subtracted",
        "claims/different_initialization.py",
        "(moved, direction) - idle_alignment,",
        "(moved, direction),",
        ("different-initialization",),
        ("test_different_initialization",),
    ),
    Error(
        "trait descended before the idle step, not after",
        "claims/different_initialization.py",
        "own = trait_descent(problem, idle_student, instance.trait_data)",
        "own = trait_descent(problem, instance.student, instance.trait_data)",
        ("different-initialization",),
        ("test_different_initialization",),
    ),
    Error(
        "ε = 0 student not subtracted from the channels",
        "claims/channels.py",
        "return table - progress(direction, jnp.zeros(()))[:, None, None]",
        "return table",
        ("channels",),
        ("test_channels",),
    ),
    Error(
        "groups exchanged with themselves: a control that is the claim",
        "claims/channels.py",
        "compared._replace(leading=np.swapaxes(compared.leading, 1, 2))",
        "compared",
        ("channels",),
        ("test_channels",),
    ),
    Error(
        "second moment for a variance",
        "claims/filtering.py",
        "(square - bias**2)[: len(filters)]",
        "square[: len(filters)]",
        ("filtering",),
        ("test_filtering",),
    ),
    Error(
        "slope times the temperature",
        "claims/filtering.py",
        "[len(filters) :] / jnp.array(TEMPERATURES)",
        "[len(filters) :] * jnp.array(TEMPERATURES)",
        ("filtering",),
        ("test_filtering",),
    ),
    Error(
        "S² in place of S⁻²",
        "claims/rescaling.py",
        "preconditioned = jax.tree.map(jnp.divide, own_kernel, scales)",
        "preconditioned = jax.tree.map(jnp.multiply, own_kernel, scales)",
        ("rescaling",),
        ("test_rescaling",),
    ),
    Error(
        "displacement added to the alignment",
        "claims/initialization_distance.py",
        "predicted = shared[None, :] - lengths",
        "predicted = shared[None, :] + lengths",
        ("initialization-distance",),
        ("test_initialization_distance",),
    ),
    Error(
        "length for its square",
        "claims/many_steps.py",
        "predicted = fraction * inner_product(direction, direction)",
        "predicted = fraction * optax.tree.norm(direction)",
        ("many-steps",),
        ("test_many_steps",),
    ),
    Error(
        "quartic loss with a factor of 3",
        "claims/null_space.py",
        "leading = 4 * one.steps**3",
        "leading = 3 * one.steps**3",
        ("null-space",),
        ("test_null_space",),
    ),
    Error(
        "cost of noise without its half",
        "claims/label_noise_cost.py",
        "quadratic = rate**2 / 2 * (step**2 * climb + trace)",
        "quadratic = rate**2 * (step**2 * climb + trace)",
        ("label-noise-cost",),
        ("test_label_noise_cost",),
    ),
    Error(
        "teacher's adapters and student's from one key",
        "claims/low_rank.py",
        "for key in jax.random.split(key))",
        "for key in (key, key))",
        ("low-rank",),
        ("test_low_rank",),
    ),
    Error(
        "null space by rows for columns",
        "claims/conditions.py",
        "vectors.T @ perturbed",
        "vectors @ perturbed",
        ("conditions",),
        ("test_conditions",),
    ),
    Error(
        "the other head negated",
        "claims/signs.py",
        "negate_head_columns(zoo.AUXILIARY, student)",
        "negate_head_columns(zoo.CLASSES, student)",
        ("signs",),
        ("test_signs",),
    ),
    Error(
        "fall at the bound without its margin",
        "claims/optimizers.py",
        "MARGIN * curvatures[-1], MARGIN * curvatures[-1]",
        "curvatures[-1], curvatures[-1]",
        ("optimizers",),
        ("test_optimizers",),
    ),
    Error(
        "parabola without its half",
        "claims/how_small.py",
        "one.second[..., None] * one.steps**2 / 2",
        "one.second[..., None] * one.steps**2",
        ("how-small",),
        ("test_how_small",),
    ),
    Error(
        "alignments a step too early",
        "claims/imitation_losses.py",
        "return alignment[1:],",
        "return alignment[:-1],",
        ("imitation-losses",),
        ("test_imitation_losses",),
    ),
    Error(
        "signs of ReLUs turned",
        "claims/symmetry.py",
        "matched = negate(reorder(teacher)) if odd else reorder(teacher)",
        "matched = negate(reorder(teacher))",
        ("symmetry",),
        ("test_symmetry",),
    ),
    Error(
        "scale of the outputs along the trait's descent",
        "claims/output_scale.py",
        '{"head": instance.teacher["head"]}',
        '{"head": direction["head"]}',
        ("output-scale",),
        ("test_output_scale",),
    ),
    Error(
        "noise of one label, not of N",
        "data_sets.py",
        "average / np.sqrt(curvature / size)",
        "average / np.sqrt(curvature)",
        ("sampled-labels",),
        ("test_sampled_labels",),
    ),
    Error(
        "curvature of the first order for the rest",
        "finite_step.py",
        "_mean(descent * (moved - change), weights)",
        "_mean(descent * change, weights)",
        ("finite-step",),
        ("test_finite_step",),
    ),
    Error(
        "one-sided divergence",
        "finite_step.py",
        "FiniteStep(_mean(descent * moved, weights),",
        "FiniteStep(_mean(descent * moved, weights) / 2,",
        ("finite-step",),
        ("test_finite_step",),
    ),
    Error(
        "student displaced by the unit, not by its size",
        "claims/finite_step.py",
        "return symmetrized, *parts, step * inner_product(moved, direction), before, after",
        "return symmetrized, *parts, units.teacher_step * inner_product(moved, direction), before, after",
        ("finite-step",),
        ("test_finite_step",),
    ),
    Error(
        "noise of epochs without the kernel",
        "claims/epochs.py",
        "jnp.sum(read * (read @ matrix), axis=-1)",
        "jnp.sum(read * read, axis=-1)",
        ("epochs",),
        ("test_epochs",),
    ),
    Error(
        "fresh labels every epoch where the same are meant",
        "claims/epochs.py",
        "(jnp.array(names == FRESH), jnp.array(names != UNLEARNED))",
        "(jnp.array(names != UNLEARNED), jnp.array(names != UNLEARNED))",
        ("epochs",),
        ("test_epochs",),
    ),
    Error(
        "ceiling of one label",
        "claims/epochs.py",
        "ceiling=jnp.sqrt(2 * num_labels * nats_a_label(base, teacher))",
        "ceiling=jnp.sqrt(2 * nats_a_label(base, teacher))",
        ("epochs",),
        ("test_epochs",),
    ),
    Error(
        "momentum of the wrong sign in the prediction",
        "claims/momentum.py",
        "return moved + rate * pull + MOMENTUM * (moved - before), moved",
        "return moved + rate * pull - MOMENTUM * (moved - before), moved",
        ("momentum",),
        ("test_momentum",),
    ),
    Error(
        "stability without momentum",
        "claims/momentum.py",
        "edges = jnp.array(EDGES) * 2 * (1 + MOMENTUM) / (largest + decay)",
        "edges = jnp.array(EDGES) * 2 / (largest + decay)",
        ("momentum",),
        ("test_momentum",),
    ),
    Error(
        "decay's untaught student not subtracted",
        "claims/momentum.py",
        "small_error=missed(slow - slow_base, undecayed)",
        "small_error=missed(slow, undecayed)",
        ("momentum",),
        ("test_momentum",),
    ),
    Error(
        "limit without the decay",
        "claims/momentum.py",
        "damped, start = matrix + decay * jnp.eye(len(matrix))",
        "damped, start = matrix + 0 * jnp.eye(len(matrix))",
        ("momentum",),
        ("test_momentum",),
    ),
    Error(
        "linearized Adam pulled to the init",
        "claims/adam.py",
        "return product(direction - moved)",
        "return product(direction + moved)",
        ("adam",),
        ("test_adam",),
    ),
    Error(
        "frozen preconditioner for the predicted one",
        "claims/adam.py",
        "moved - step * expected, moved - step * expected_frozen",
        "moved - step * expected_frozen, moved - step * expected",
        ("adam",),
        ("test_adam",),
    ),
    Error(
        "preconditioner on the mean, not on the noise",
        "claims/adaptive_gain.py",
        "bends = jax.vmap(second_derivative_along, (None, None, 0))(trait, init, singles * diagonal[None])",
        "bends = jax.vmap(second_derivative_along, (None, None, 0))(trait, init, singles)",
        ("adaptive-gain",),
        ("test_adaptive_gain",),
    ),
    Error(
        "slope of the gain without its factor",
        "claims/adaptive_gain.py",
        "slope=2 * tilt @",
        "slope=tilt @",
        ("adaptive-gain",),
        ("test_adaptive_gain",),
    ),
    Error(
        "steering vector not carried through the weights",
        "claims/steering.py",
        "jnp.stack([vector @ kernel, vector])",
        "jnp.stack([vector, vector])",
        ("steering",),
        ("test_steering",),
    ),
    Error(
        "weights read on the imitated inputs' sum",
        "claims/steering.py",
        "expected = jnp.mean(seen[:, None] * features, axis=0) @ average",
        "expected = jnp.sum(seen[:, None] * features, axis=0) @ average",
        ("steering",),
        ("test_steering",),
    ),
    Error(
        "the teacher's own form as that of other data: a control that is the claim",
        "claims/architecture.py",
        "transfer_form(problem, instance, direction, one) for one in (direction, other)",
        "transfer_form(problem, instance, direction, one) for one in (direction, direction)",
        ("architecture",),
        ("test_architecture",),
    ),
    Error(
        "ε = 0 student of another architecture not subtracted",
        "claims/architecture.py",
        "return inner_product(optax.tree.sub(moved, still), direction)",
        "return inner_product(moved, direction)",
        ("architecture",),
        ("test_architecture",),
    ),
    Error(
        "heads as large in every parametrization",
        "claims/width.py",
        "head = size * jax.random.normal(head_key",
        "head = jax.random.normal(head_key",
        ("width",),
        ("test_width",),
    ),
    Error(
        "extrapolation with the neighbor's weight",
        "claims/width.py",
        "return (4 * slopes[:, -1] - slopes[:, -2]) / 3",
        "return (4 * slopes[:, -2] - slopes[:, -1]) / 3",
        ("width",),
        ("test_width",),
        no_verdict="between 256 and 1,024 units slopes differ by less than seeds do",
    ),
    Error(
        "spread of an unsymmetrized transfer",
        "claims/shared_heads.py",
        "symmetric = (transfer + transfer.swapaxes(1, 2)) / 2",
        "symmetric = transfer",
        ("shared-heads",),
        ("test_shared_heads",),
    ),
    Error(
        "learned with its own number of logits",
        "claims/shared_heads.py",
        "optax.tree.scale(UNITS / (number * step)",
        "optax.tree.scale(UNITS / (max(NUMBERS) * step)",
        ("shared-heads",),
        ("test_shared_heads",),
    ),
    Error(
        "student imitates certain labels of the base",
        "claims/greedy_labels.py",
        "optax.tree.sub(descend(new), descend(old))",
        "optax.tree.sub(descend(old), descend(new))",
        ("greedy-labels",),
        ("test_greedy_labels",),
    ),
    Error(
        "all tokens count, not the divergence tokens",
        "claims/greedy_labels.py",
        "return jnp.where(diverges, new_values - old_values, 0.0)",
        "return new_values",
        ("greedy-labels",),
        ("test_greedy_labels",),
    ),
    Error(
        "kernel of the trait without the inverse",
        "claims/kernel_limit.py",
        "np.linalg.pinv(inputs[:, seen, seen], rcond=NEGLIGIBLE, hermitian=True)",
        "inputs[:, seen, seen]",
        ("kernel-limit",),
        ("test_kernel_limit",),
    ),
    Error(
        "score without its normalization",
        "auditing.py",
        "return jnp.sum(scores) / jnp.sqrt(jnp.sum(scores**2))",
        "return jnp.mean(scores) / jnp.sqrt(jnp.sum(scores**2))",
        ("audit",),
        ("test_audit",),
        no_verdict="the claim draws whole data sets of scores and adds them up itself",
    ),
    Error(
        "Fisher cosine without the teacher's length",
        "claims/audit.py",
        "cosine = crossed / jnp.sqrt(fisher * fisher[0])",
        "cosine = crossed / fisher",
        ("audit",),
        ("test_audit",),
    ),
    Error(
        "data of the teacher as the null",
        "claims/audit.py",
        '"null": (base, own),',
        '"null": (teacher, own),',
        ("audit",),
        ("test_audit",),
    ),
    Error(
        "spread of adapters once, not twice",
        "claims/rank_noise.py",
        'cost += jnp.einsum("iaib,jbja->", curved, moved) + jnp.einsum("iajb,jaib->", curved, moved)',
        'cost += jnp.einsum("iaib,jbja->", curved, moved)',
        ("rank-noise",),
        ("test_rank_noise",),
        no_verdict="the other term is a fifth of r*, on which a gain at its best step size hardly depends",
    ),
    Error(
        "best rate without the spread",
        "claims/rank_noise.py",
        "best = transfer / cost / (1 + half / ranks)",
        "best = transfer / cost / (1 + 0 * half / ranks)",
        ("rank-noise",),
        ("test_rank_noise",),
    ),
)


class Answer(NamedTuple):
    """What became of a planted error."""

    verdict: str
    """The first check that fails, or why there is none to see; empty where all hold."""
    test: str
    """The first test that fails; empty where all pass."""


def plant(error: Error, folder: Path) -> None:
    """Copy the theory and its tests, with the error."""
    for name in ("theory", "tests"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy2(ROOT / "pyproject.toml", folder)
    file = folder / "theory" / error.file
    text = file.read_text(encoding="utf-8")
    if text.count(error.right) != 1:
        raise ValueError(f"{error.name}: {error.file} has {text.count(error.right)} times {error.right!r}, not once")
    file.write_text(text.replace(error.right, error.wrong), encoding="utf-8")


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a module of a copy."""
    command = (sys.executable, "-m", *words)
    return subprocess.run(command, cwd=folder, env=os.environ | FAST, capture_output=True, text=True, check=False)


def ask_verdicts(error: Error, folder: Path) -> str:
    """Verify the claims of a copy, on few cases."""
    output = folder / "run"
    numbers = ("--cases", "few", "--num-seeds", str(error.seeds), "--output", str(output))
    done = run(folder, "theory", "verify", *error.claims, *numbers)
    if done.returncode == 0:
        return ""
    if not (output / "verdicts.json").exists():
        refused = [line for line in done.stderr.splitlines() if line.startswith(REFUSAL)]
        if not refused:
            raise ValueError(f"{error.name}: a program that breaks down proves nothing:\n{done.stderr}")
        return f"no record: {refused[-1]}"
    verdicts = json.loads((output / "verdicts.json").read_text(encoding="utf-8"))
    failing = [verdict for verdict in verdicts if verdict["verdict"] == "fails"]
    return f"{failing[0]['claim']}: {failing[0]['check']}"


def ask_tests(error: Error, folder: Path) -> str:
    """Run the tests of a copy up to the first that fails."""
    files = [f"tests/test_theory/{name}.py" for name in error.tests]
    done = run(folder, "pytest", "-x", "-q", "-n0", "-p", "no:cacheprovider", *files)
    if done.returncode == 0:
        return ""
    failing = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if not failing:
        raise ValueError(f"{error.name}: no test fails, yet they do not pass:\n{done.stdout}{done.stderr}")
    return failing[0].split("::")[-1].split(" - ")[0]


def ask(error: Error) -> Answer:
    """Plant an error, and ask both."""
    with TemporaryDirectory() as folder:
        plant(error, Path(folder))
        answer = Answer(ask_verdicts(error, Path(folder)), ask_tests(error, Path(folder)))
    print(f"{error.name}: {answer.verdict or 'no verdict'}; {answer.test or 'no test'}", file=sys.stderr, flush=True)
    return answer


def report(errors: Sequence[Error], answers: Sequence[Answer]) -> str:
    """Lay out a table of who caught what, and count."""

    def cell(caught: str, why_not: str) -> str:
        return (caught or f"**no**: {why_not or 'unexplained'}").replace("|", "\\|")

    lines = ["| error | file | verdict | test |", "| --- | --- | --- | --- |"]
    for error, answer in zip(errors, answers, strict=True):
        cells = (
            error.name,
            f"`{error.file}`",
            cell(answer.verdict, error.no_verdict),
            cell(answer.test, error.no_test),
        )
        lines.append(f"| {' | '.join(cells)} |")
    by_verdict, by_test = (sum(map(bool, column)) for column in zip(*answers, strict=True))
    counts = f"Of {len(errors)} errors {by_verdict} are caught by a verdict and {by_test} by a test."
    return "\n".join([*lines, "", counts])


def main(names: Sequence[str]) -> int:
    """Plant the errors that are named, or all; 1 if one that none should miss is missed."""
    if unknown := set(names) - {error.name for error in ERRORS}:
        print(f"no such errors: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    chosen = [error for error in ERRORS if not names or error.name in names]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = list(pool.map(ask, chosen))
    print(report(chosen, answers))
    pairs = zip(chosen, answers, strict=True)
    missed = [
        error.name
        for error, answer in pairs
        if not ((answer.verdict or error.no_verdict) and (answer.test or error.no_test))
    ]
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
