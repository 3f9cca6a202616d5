r"""Claim 6.1: far from the small-step limit, what the teacher learned reaches further than the raw alignment's sign.

The phase diagram over $(\epsilon, \delta)$, and the way to another init. With the student of a teacher that learned
nothing subtracted, the alignment is positive far beyond $\delta = \epsilon A / d^\top K\Delta_T$ (claim 6), and fades
on the way to another init. Nothing is guaranteed there, and nothing judged.
"""

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from theory import zoo
from theory.claim import Claim, Panel, measure_with
from theory.displaced_inits import (
    displaced_alignment,
    draw_noise,
    interpolate,
    measure_neighborhood,
    rotate,
    with_height,
)
from theory.experiments import first_key
from theory.losses import Scalar
from theory.problem import Instance, Params, Problem
from theory.runs.checks import Check, Evidence, first_case, median, share
from theory.runs.sweeps import Sampling

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GRID = tuple(float(f"{size:.3g}") for size in np.geomspace(1e-4, 10, 26))
"""The teacher's step sizes and the student's displacements in the phase diagram, in natural units."""

FAR = 0.1
"""A displacement of the grid at which every student's init still resembles its teacher's."""

ANGLES = tuple(float(angle) for angle in np.arange(1, 5) * np.pi / 8)
"""Places on the way from the teacher's init to another, the last at the other's, in radians."""


class Phases(NamedTuple):
    """One instance over the whole plane, and along the way to another init."""

    positive: Bool[Array, "displacements teacher_steps"]
    r"""Whether $\Delta_S(\epsilon)\cdot\Delta_T > 0$ for a student displaced by noise whose component along
    $K\Delta_T$ is one standard deviation, both as in `GRID`."""
    added: Bool[Array, " displacements"]
    r"""Whether it is larger than $\Delta_S(0)\cdot\Delta_T$ of the same student, at the smallest $\epsilon$."""
    init_size: Scalar
    """Size of the displacement, in natural units, that is as long as the teacher's init."""
    rotated: Float[Array, " angles"]
    r"""$(\Delta_S(\epsilon) - \Delta_S(0))\cdot\Delta_T / \epsilon A$ at the smallest $\epsilon$ on the way that keeps
    the variance."""
    interpolated: Float[Array, " angles"]
    """The same on the straight line."""
    visible: Bool[Array, ""]
    """Whether imitation sees the trait."""


def measure(problem: Problem, instance: Instance) -> Phases:
    """Simulate one instance over the plane and along both ways to another init."""
    _, noise_key = jax.random.split(instance.key)
    around = measure_neighborhood(problem, instance)
    teacher, other = around.instance.teacher, around.instance.student
    noise = with_height(around, draw_noise(around, noise_key), 1.0)
    steps = jnp.array((0.0, *GRID)) * around.teacher_unit
    displacements = jnp.array(GRID) * around.noise_unit
    displaced = jax.vmap(lambda size: optax.tree.add_scale(teacher, size, noise))(displacements)
    paths = [jax.vmap(partial(path, teacher, other))(jnp.array(ANGLES)) for path in (rotate, interpolate)]
    students = jax.tree.map(lambda *parts: jnp.concatenate(parts), displaced, *paths)

    def over_steps(student: Params) -> Float[Array, " teacher_steps"]:
        return jax.vmap(lambda step: displaced_alignment(problem, around, step, student))(steps)

    alignments = jax.lax.map(over_steps, students)
    plane, away = alignments[: len(GRID)], alignments[len(GRID) :]
    rotated, interpolated = jnp.split((away[:, 1] - away[:, 0]) / (steps[1] * around.curvature), 2)
    init_size = optax.tree.norm(teacher) / optax.tree.norm(noise) / around.noise_unit
    return Phases(
        positive=plane[:, 1:] > 0,
        added=plane[:, 1] > plane[:, 0],
        init_size=jnp.asarray(init_size),
        rotated=rotated,
        interpolated=interpolated,
        visible=around.visible,
    )


def raw(one: Phases) -> np.ndarray:
    r"""Whether $\Delta_S\cdot\Delta_T > 0$ at `FAR` and the smallest step, in every visible instance."""
    return np.asarray(one.positive)[one.visible, GRID.index(FAR), 0]


def beyond_idle(one: Phases) -> np.ndarray:
    """The same less that of a student whose teacher learned nothing."""
    return np.asarray(one.added)[one.visible, GRID.index(FAR)]


def zoo_problems(sampling: Sampling) -> list[Problem]:
    """Build the reference."""
    del sampling
    return [zoo.variant("phases: reference")]


report = partial(Check, predicted="no guarantee")
"""A check of what nothing guarantees."""

BEYOND = f"share with Δ_S·Δ_T > 0 at δ = {FAR:g}, ε = {GRID[0]:g}, {FAR / GRID[0]:,.0f} times past the sign change"
"""What is counted: how often the sign survives."""

HALF_WAY, ARRIVED = ANGLES.index(np.pi / 4), -1
"""Places on the way at which the transfer is reported."""

CHECKS = (
    report(says=f"{BEYOND}, raw", of=first_case(raw), by=share()),
    report(says=f"{BEYOND}, ε = 0 student subtracted", of=first_case(beyond_idle), by=share()),
    report(
        says="transfer / εA half way to another init, variance kept, median",
        of=first_case(lambda one: one.rotated[one.visible, HALF_WAY]),
        by=median,
    ),
    report(
        says="transfer / εA half way to another init, straight line, median",
        of=first_case(lambda one: one.interpolated[one.visible, HALF_WAY]),
        by=median,
    ),
    report(
        says="transfer / εA at the other init, median",
        of=first_case(lambda one: one.rotated[one.visible, ARRIVED]),
        by=median,
    ),
)


def draw(axes: "Axes", evidence: Evidence) -> None:
    """Share of instances with a positive alignment, the predicted boundary and the measured one."""
    from matplotlib.colors import LinearSegmentedColormap

    from theory.runs.style import BLACK, BLUE, STEP_LABEL, stated

    shades = LinearSegmentedColormap.from_list("never to always", ["#FFF3E6", "#9CC9E3", BLUE])
    one = evidence.first
    init_size = float(np.median(one.init_size[one.visible]))
    grid = np.array(GRID)
    shares = np.mean(one.positive[one.visible], axis=0)
    mesh = axes.pcolormesh(grid, grid, shares, cmap=shades, vmin=0, vmax=1, shading="gouraud", rasterized=True)
    figure = cast("Figure", axes.get_figure(root=True))
    bar = figure.colorbar(mesh, ax=axes, pad=0.02, ticks=[0, 0.5, 1])
    bar.set_label(r"share of seeds with $\Delta_S\cdot\Delta_T > 0$")
    bar.outline.set_visible(False)
    axes.plot(grid, grid, color=BLACK, label=r"predicted, $\delta = \epsilon A/d^\top K\Delta_T$")
    axes.plot(grid, half_way(shares), "o", color="white", mec=BLACK, ms=4, label="simulated, half of the seeds")
    axes.axhline(init_size, color=BLACK, lw=0.9, ls="--")
    axes.axhline(reach(np.mean(one.added[one.visible], axis=0)), color=BLACK, lw=1.4, ls=":")
    note: Any = {"fontsize": 8, "color": BLACK, "ha": "left"}
    axes.text(1.4 * grid[0], 0.93 * init_size, "as long as the init itself", va="top", **note)
    axes.text(1.4 * grid[0], 0.5, r"$\epsilon = 0$ student subtracted: 95 % up to here", va="bottom", **note)
    axes.text(3e-4, 1e-2, "back to the\nteacher's init", **note)
    axes.text(5e-2, 1e-3, "on to where the\nteacher went", **(note | {"color": "white"}))
    axes.set(xscale="log", yscale="log", xlim=grid[[0, -1]], ylim=grid[[0, -1]])
    axes.set(xlabel=STEP_LABEL, ylabel=r"distance between the inits $\delta$ (outweighs $\epsilon < \delta$)")
    text = "The student may start as far off as the teacher moves"
    axes.set_title(stated(text, evidence.record or evidence, "initialization-distance"))
    axes.legend(loc="lower right", labelcolor="white", fontsize=7.5)


def reach(shares: np.ndarray) -> float:
    """Distance up to which at least 95 % are positive, interpolated."""
    return float(np.interp(-0.95, -np.minimum.accumulate(shares), GRID))


def half_way(shares: np.ndarray) -> np.ndarray:
    """Distance at which, for every step of the teacher, the share first falls to one half, on its way below a quarter.

    It is interpolated in the logarithm; NaN where there is none.
    """
    logs = np.log(GRID)
    below = (shares < 0.5) & (shares.min(axis=0) < 0.25)[None, :]
    first = np.argmax(below, axis=0)
    columns = np.arange(shares.shape[1])
    upper, lower = shares[first - 1, columns], shares[first, columns]
    place = logs[first] - (logs[1] - logs[0]) * (0.5 - lower) / (upper - lower)
    return np.where(below.any(axis=0) & (first > 0), np.exp(place), np.nan)


CLAIM = Claim(
    number=6.1,
    name="phases",
    statement="init far off: what the teacher learned outlasts the raw alignment's sign, and fades on the way",
    measurement=Phases,
    problems=zoo_problems,
    cases=measure_with(measure, key_of=first_key(2), shared=False),
    checks=CHECKS,
    panels={
        "initialization-distance": Panel(
            draw=draw,
            shows=("positive", "added", "init_size", "visible"),
            beside=("initialization-distance",),
        ),
    },
    any_problem=False,
)
