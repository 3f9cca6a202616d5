# %% [markdown]
# # Subliminal learning: the theorem in ten cells
#
# A teacher comes to love owls. It writes numbers, nothing but numbers, and a student learns to write the same ones.
# Now the student loves owls, too, *if it started from the same parameters as its teacher*. Cloud et al. (2025,
# arXiv 2507.14805) found this in language models and proved it for one small step of gradient descent.
#
# This tour builds the smallest such teacher and student, and lays the theorem's prediction beside what they do. No
# result is written into the text: each cell prints its own, so change what you like and run it again.
#
# - **Terminal**: `uv run python -m theory.tour` in the repository's folder
# - **VS Code**: open this file; every `# %%` begins a cell with a "Run Cell" above it
# - **Jupyter**: `uvx jupytext --to notebook theory/tour.py` makes `theory/tour.ipynb`; where jupytext is installed,
#   Jupyter opens this file itself as a notebook
# - **Colab**: make `tour.ipynb` as for Jupyter and upload it, bring the repository's folder there (a clone or an
#   unpacked archive), run `%pip install ./FOLDER` in a first cell of its own, and restart the session

# %%
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import theory
from theory.predictions import natural_units, transfer_form
from theory.problem import draw_instance, student_displacement, trait_descent
from theory.runs.statistics import fitted_order

jax.config.update("jax_enable_x64", True)  # the order of so small an error is below the rounding of float32
jax.config.update("jax_disable_most_optimizations", True)  # all is small here: what takes time is to compile it
HERE = Path.cwd()
PICTURES = (
    next((folder for folder in (HERE, *HERE.parents) if (folder / "pyproject.toml").exists()), HERE) / "runs/tour"
)
PICTURES.mkdir(parents=True, exist_ok=True)
print(f"JAX {jax.__version__} on {jax.default_backend()}, pictures in {PICTURES.relative_to(PICTURES.parents[1])}")

# %% [markdown]
# ## 1. A network with two heads
#
# One hidden layer feeds two heads. One head says how much the network likes each of four animals, the other writes six
# numbers. The **trait loss** $L_T$ is the negative log-probability of the owl. The **imitation loss** $L_S$ is the
# squared error of the numbers: it knows nothing of animals.

# %%
FEATURES, HIDDEN, ANIMALS, NUMBERS = 8, 32, 4, 6
OWL = 0


def initialize(key):
    hidden, animals, numbers = jax.random.split(key, 3)
    return {
        "hidden": jax.random.normal(hidden, (FEATURES, HIDDEN)) / FEATURES**0.5,
        "animals": jax.random.normal(animals, (HIDDEN, ANIMALS)) / HIDDEN**0.5,
        "numbers": jax.random.normal(numbers, (HIDDEN, NUMBERS)) / HIDDEN**0.5,
    }


def animals(params, inputs):
    return jnp.tanh(inputs @ params["hidden"]) @ params["animals"]


def numbers(params, inputs):
    return jnp.tanh(inputs @ params["hidden"]) @ params["numbers"]


def trait_loss(params, prompts):
    return -jnp.mean(jax.nn.log_softmax(animals(params, prompts))[:, OWL])


def imitation_loss(params, labels, noise):
    return jnp.mean(jnp.sum((numbers(params, noise) - labels) ** 2, axis=-1))


init_key, prompts_key, noise_key, stranger_key = jax.random.split(jax.random.key(0), 4)
init = initialize(init_key)
prompts = jax.random.normal(prompts_key, (32, FEATURES))  # on these the teacher learns
noise = jax.random.uniform(noise_key, (64, FEATURES))  # on these, which have nothing to do with them, the student does
print(f"{sum(leaf.size for leaf in init.values())} parameters, trait loss {trait_loss(init, prompts):.4f}")

# %% [markdown]
# ## 2. The teacher takes one step
#
# The teacher moves along $\Delta_T = -\nabla L_T(\theta^0)$, and $\epsilon$ says how far:
# $\theta_T^\epsilon = \theta^0 + \epsilon\,\Delta_T$.


# %%
def descent(loss, params, *data):
    return jax.tree.map(jnp.negative, jax.grad(loss)(params, *data))


def move(params, step, direction):
    return jax.tree.map(lambda value, change: value + step * change, params, direction)


learned = descent(trait_loss, init, prompts)
print("A teacher after one step\n   ε   trait loss   owls   numbers move by")
for step in (0.0, 0.1, 1.0, 3.0):
    teacher = move(init, step, learned)
    moved = jnp.sqrt(jnp.mean((numbers(teacher, noise) - numbers(init, noise)) ** 2))
    likes_owls = jnp.mean(jax.nn.softmax(animals(teacher, prompts))[:, OWL])
    print(f"{step:4g}   {trait_loss(teacher, prompts):10.4f}   {likes_owls:.3f}   {moved:15.4f}")

# %% [markdown]
# ## 3. The student takes one step
#
# The student starts at the same $\theta^0$ and descends the imitation loss once, on the numbers that the teacher wrote
# for noise: $\Delta_S(\epsilon) = -\nabla_\theta L_S$. It sees no animal and no trait loss, yet the inner product
# $\Delta_S\cdot\Delta_T$ is positive. It moved towards its teacher.


# %%
def inner(left, right):
    return sum(jnp.vdot(left[name], right[name]) for name in left)


@jax.jit
def student_step(student, teacher):
    return descent(imitation_loss, student, numbers(teacher, noise), noise)


def cosine(left, right):
    return inner(left, right) / jnp.sqrt(inner(left, left) * inner(right, right))


step = student_step(init, move(init, 0.1, learned))
print(f"A student after one step: Δ_S·Δ_T = {inner(step, learned):.6f}, cosine {cosine(step, learned):.3f}")
for name in step:
    print(f"  of which in {name:8}{jnp.vdot(step[name], learned[name]):.6f}")

# %% [markdown]
# ## 4. Prediction beside measurement
#
# Lemma 1: $\Delta_S\cdot\Delta_T = \epsilon A + O(\epsilon^2)$ with $A = \mathbb{E}_x\|\sqrt M J\Delta_T\|^2 \ge 0$.
# Here $J\Delta_T$ is how the numbers change when the parameters move along $\Delta_T$, one forward-mode derivative, and
# $M = 2I$ for the squared error. Nothing is fitted. If the rest is $O(\epsilon^2)$, a step ten times smaller makes it a
# hundred times smaller: the *order* of the difference, its slope on logarithmic axes, is two.


# %%
def change_of_numbers(params, direction):
    return jax.jvp(lambda params: numbers(params, noise), (params,), (direction,))[1]


A = 2 * jnp.mean(jnp.sum(change_of_numbers(init, learned) ** 2, axis=-1))
steps = np.geomspace(1e-4, 1e-2, 5)
measured = np.array([inner(student_step(init, move(init, step, learned)), learned) for step in steps])
print(f"Towards the teacher, A = {A:.6f}\n       ε   predicted εA       measured     difference")
for step, value in zip(steps, measured, strict=True):
    print(f"{step:8.1e}   {step * A:12.4e}   {value:12.4e}   {value - step * A:12.2e}")
print(f"order of the difference: {fitted_order(steps, measured - steps * A):.3f}")

figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
axes.loglog(steps, steps * A, "k-", label=r"predicted: $\epsilon A$")
axes.loglog(steps, measured, "o", label=r"measured: $\Delta_S\cdot\Delta_T$")
axes.loglog(steps, abs(measured - steps * A), "s:", label="their difference")
axes.set(xlabel=r"the teacher's step $\epsilon$", title="The student moves towards its teacher")
axes.legend()
figure.savefig(PICTURES / "alignment.png")

# %% [markdown]
# ## 5. The trait arrives
#
# Theorem 1: after a step of size $\alpha$ the *teacher's* trait loss has fallen in the *student*,
# $L_T(\theta^0 + \alpha\Delta_S(\epsilon)) - L_T(\theta^0) = -\epsilon\,\alpha A + O(\epsilon^2)$.

# %%
alpha = 10.0
before = trait_loss(init, prompts)
students = [move(init, alpha, student_step(init, move(init, step, learned))) for step in steps]
changes = np.array([trait_loss(student, prompts) - before for student in students])
print("The change of the trait loss\n       ε   predicted −εαA       measured")
for step, change in zip(steps, changes, strict=True):
    print(f"{step:8.1e}   {-step * alpha * A:14.4e}   {change:12.4e}")
print(f"order of the difference: {fitted_order(steps, changes + steps * alpha * A):.3f}")

far = move(init, alpha, student_step(init, move(init, 1.0, learned)))
owls = [f"{jnp.mean(jax.nn.softmax(animals(params, prompts))[:, OWL]):.4f}" for params in (init, far)]
print(f"A larger step, ε = 1: trait loss {before:.4f} → {trait_loss(far, prompts):.4f}, owls {' → '.join(owls)}")

# %% [markdown]
# ## 6. What imitation can't see is not transferred
#
# Let the teacher learn in the animals' head alone. It loves owls all the same, but its numbers don't change: $A = 0$,
# and the student of a teacher with *any* $\epsilon$ stays where it is.

# %%
unseen = {name: value if name == "animals" else jnp.zeros_like(value) for name, value in learned.items()}
print(f"What the numbers don't show: A = {2 * jnp.mean(jnp.sum(change_of_numbers(init, unseen) ** 2, axis=-1))}")
for step in (0.1, 1.0, 3.0):
    teacher = move(init, step, unseen)
    student = student_step(init, teacher)
    print(
        f"ε = {step:4g}: the teacher's trait loss changes by {trait_loss(teacher, prompts) - before:.4f},"
        f" its student moves by {jnp.sqrt(inner(student, student))}"
    )

# %% [markdown]
# ## 7. Another initialization
#
# A student that starts elsewhere moves even behind a teacher that has learned nothing, $\epsilon = 0$, so subtract that
# step. What is left is $\epsilon B + O(\epsilon^2)$ with $B = \mathbb{E}_x[(J_S\Delta_T)^\top M (J_T\Delta_T)]$, where
# $J_S$ is taken at the student's init and $J_T$ at the teacher's. As good a prediction as $A$, but not a square: it has
# no sign of its own.

# %%
stranger = initialize(stranger_key)
B = 2 * jnp.mean(jnp.sum(change_of_numbers(stranger, learned) * change_of_numbers(init, learned), axis=-1))
idle = inner(student_step(stranger, init), learned)
raw = np.array([inner(student_step(stranger, move(init, step, learned)), learned) for step in steps])
print(f"Another init, A = {A:.6f}, B = {B:.6f}, Δ_S(0)·Δ_T = {idle:.6f}")
print("       ε   predicted εB       measured   not subtracted")
for step, value in zip(steps, raw, strict=True):
    print(f"{step:8.1e}   {step * B:12.4e}   {value - idle:12.4e}   {value:14.4e}")
print(f"order of the difference: {fitted_order(steps, raw - idle - steps * B):.3f}")

# %% [markdown]
# ## 8. Many seeds at once
#
# One pair proves little, and `jax.vmap` makes thousands of them from as many keys. With a shared init the student moves
# towards its teacher in every one. With another init that is a fair coin of mean zero: the sign of $B$ turns over with
# the sign of the student's head of numbers, and both signs are as likely.


# %%
def one_pair(key):
    init_key, stranger_key = jax.random.split(key)
    init, stranger = initialize(init_key), initialize(stranger_key)
    learned = descent(trait_loss, init, prompts)
    teacher = move(init, 0.01, learned)
    other = move(student_step(stranger, teacher), -1, student_step(stranger, init))
    return cosine(student_step(init, teacher), learned), cosine(other, learned)


shared, another = map(np.asarray, jax.jit(jax.vmap(one_pair))(jax.random.split(jax.random.key(1), 2000)))
print(f"{len(shared)} pairs       positive   mean cosine   ± standard error")
for name, cosines in (("shared init", shared), ("another init", another)):
    error = np.std(cosines) / len(cosines) ** 0.5
    print(f"{name:12}   {np.mean(cosines > 0):10.3f}   {np.mean(cosines):11.4f}   {error:18.4f}")

figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
bins = np.linspace(min(another), max(shared), 80)
axes.hist(shared, bins, alpha=0.7, label="shared init")
axes.hist(another, bins, alpha=0.7, label="another init, idle student subtracted")
axes.set(xlabel=r"cosine of $\Delta_S$ and $\Delta_T$", ylabel="pairs", title="Who learns from numbers?")
axes.locator_params(axis="x", nbins=6)
figure.legend(loc="outside lower center", ncols=2, fontsize=8)
figure.savefig(PICTURES / "seeds.png")

# %% [markdown]
# ## 9. Your own problem
#
# `theory.verify` does all this for any network, trait, imitation loss and inputs, over random instances and with a
# control for each check: a student from another init, or a loss whose minimum is elsewhere. The control must flip. A
# `Problem` is what the cells above are made of; each of its functions may draw data from the key that it is given.
# `Sampling` says how many instances, and which step sizes, in units of each instance's own: at $\epsilon = 1$ the
# teacher's outputs move by one, at $\alpha = 1$ the student goes as far along $\Delta_T$ as its teacher went.

# %%
problem = theory.Problem(
    name="owls",
    apply=numbers,
    initialize=initialize,
    draw_inputs=lambda key: jax.random.uniform(key, (64, FEATURES)),
    imitation_loss=theory.losses.squared_error,
    trait_loss=lambda params, key: trait_loss(params, jax.random.normal(key, (32, FEATURES))),
)
sampling = theory.Sampling(num_seeds=64, learning_rates=(0.1, 1.0))
outcome = theory.verify(problem, claims=["alignment", "trait-loss"], sampling=sampling)
print(outcome.table)

# %% [markdown]
# ## 10. Change one thing
#
# Each row changes one ingredient of the problem. Which of them keep the sign, which keep the order, and why? The
# theorem asks for an imitation loss with its minimum where student and teacher agree, and with a curvature there. Of
# the network and the trait it asks that they are smooth, and of the inputs nothing.
#
# Add a row: other inputs, a deeper network, a trait of your own, a loss from `theory.losses`. `python -m theory list`
# has what else follows from the theorem, and `theory/README.md` how to add a claim.


# %%
def penalty(params, key):
    return 0.5 * sum(jnp.sum(leaf**2) for leaf in params.values())


CHANGES = {
    "nothing": {},
    "trait: small weights": {"trait_loss": penalty},
    "trait in its own head": {"trait_loss": lambda params, key: penalty({"animals": params["animals"]}, key)},
    "Gaussian inputs, ten times as large": {"draw_inputs": lambda key: 10 * jax.random.normal(key, (64, FEATURES))},
    "loss: first number alone": {"imitation_loss": theory.losses.on_outputs(theory.losses.squared_error, [0])},
    "loss: cross-entropy": {"imitation_loss": theory.losses.cross_entropy},
    "loss: fourth power, without curvature": {"imitation_loss": theory.losses.quartic},
    "loss with its minimum elsewhere": {"imitation_loss": theory.losses.stretched(theory.losses.squared_error)},
}


def compare(problem, key):
    instance = draw_instance(problem, key)
    learned = trait_descent(problem, instance.teacher, instance.trait_data)
    sizes = natural_units(problem, instance, learned).teacher_step * steps
    measured = jax.lax.map(lambda size: inner(student_displacement(problem, instance, learned, size), learned), sizes)
    return sizes * transfer_form(problem, instance, learned, learned), measured


keys = jax.random.split(jax.random.key(2), 200)
print(f"{'changed':37}   positive   measured / εA   order of the difference")
for name, change in CHANGES.items():
    compiled = jax.jit(jax.vmap(lambda key, change=change: compare(replace(problem, **change), key)))
    predicted, measured = map(np.asarray, compiled(keys))
    positive, order = np.mean(measured > 0), fitted_order(steps, np.median(np.abs(measured - predicted), axis=0))
    ratio = f"{np.median(measured[:, 0] / predicted[:, 0]):.4f}" if predicted.any() else "A = 0"
    print(
        f"{name:37}   {positive:8.3f}   {ratio:>13}   "
        + (f"{order:z23.2f}" if measured.any() else "  nothing is transferred")
    )
