r"""How much of a teacher reaches its student in the long run: matrix-free, for any number of steps at once.

For a shared initialization and teacher outputs that stay fixed, $t$ gradient steps of size $\eta$ take the student to

$$\theta_S - \theta^0 = \epsilon\,[I - (I - \eta K)^t]\,\Delta_T + O(\epsilon^2), \qquad
\rho_t = \frac{\Delta_T^\top [I - (I - \eta K)^t]\, \Delta_T}{\|\Delta_T\|^2}.$$

$\rho_t$ is the *transfer fraction*. Everything here needs products with $K$ alone, a forward and a backward pass each.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from theory.losses import Scalar
from theory.predictions import predicted_displacement
from theory.problem import BatchOutputs, Instance, Params, Problem, imitation_descent

Vector = Float[Array, " params"]

Matrix = Float[Array, "size size"]

Basis = tuple[tuple[Float[Array, "products params"], ...], tuple[Vector, ...], Scalar]
"""Basis vectors so far, the next one, each with the metric's products if there is one, and the diagonal's largest."""


class Tridiagonal(NamedTuple):
    """A symmetric operator in the orthonormal basis of its Krylov space."""

    basis: Float[Array, "products params"]
    """Rows are the basis vectors; zero once the Krylov space is exhausted."""
    diagonal: Float[Array, " products"]
    """Products of the operator with each basis vector, along it."""
    off_diagonal: Float[Array, " products"]
    """From each basis vector to the next, the last one out of the basis; zero once the Krylov space is exhausted."""

    @property
    def matrix(self) -> Float[Array, "products products"]:
        """The operator in the basis."""
        beside = self.off_diagonal[:-1]
        return jnp.diag(self.diagonal) + jnp.diag(beside, 1) + jnp.diag(beside, -1)


class TransferSpectrum(NamedTuple):
    r"""What $\Delta_T$ sees of the spectrum of $K$.

    The eigenvalues of `matrix` are the nodes of a Gauss quadrature, the squared first entries of its eigenvectors the
    weights. No compiled program asks for them: jaxlib runs batches of `eigh` on the very thread pool that waits for
    them, and two programs at once wait forever.
    """

    matrix: Float[Array, "products products"]
    r"""$K$ in the basis of its Krylov space from $\Delta_T$, tridiagonal."""
    largest: Scalar
    r"""The largest eigenvalue of $K$ that $\Delta_T$ sees; stable rates are below $2/\lambda_{max}$."""
    top: Params
    r"""Its unit eigenvector, a tree like $\Delta_T$; zero if $K\Delta_T$ is zero."""


def kernel_product(problem: Problem, instance: Instance) -> Callable[[Params], Params]:
    r"""Products with $K = \mathbb{E}_x[J^\top M J]$ at the teacher's initialization, of trees like its parameters."""
    shared = instance._replace(student=instance.teacher)
    return lambda direction: predicted_displacement(problem, shared, direction)


def tridiagonalize(
    product: Callable[[Vector], Vector],
    start: Vector,
    num_products: int,
    metric: Callable[[Vector], Vector] | None = None,
) -> Tridiagonal:
    r"""Lanczos's iteration with full reorthogonalization, at a fixed number of products so that it may be compiled.

    With a metric $G$, positive semi-definite, the operator is $AG$ for a symmetric $A$, the `product`: symmetric, and
    the basis orthonormal, in the metric. What the metric doesn't see of a vector may be large, and leaves rounding that
    ends the space sooner. Without one $G$ is the identity.

    Where the Krylov space ends early, because $K$ has low rank or `start` few components, the remaining rows are zero:
    they are decoupled from the others, and neither add to nor take from any function of the operator at `start`.

    References:
        Golub and Meurant (2010), Matrices, Moments and Quadrature with Applications, section 4.1.
    """

    def normalize(vector: Vector, floor: Scalar) -> tuple[tuple[Vector, ...], Scalar]:
        dual = vector if metric is None else metric(vector)
        norm = jnp.linalg.norm(vector) if metric is None else jnp.sqrt(jnp.maximum(vector @ dual, 0.0))
        kept = norm > floor
        both = (vector,) if metric is None else (vector, dual)
        units = tuple(jnp.where(kept, each / jnp.where(kept, norm, 1.0), 0.0) for each in both)
        return units, jnp.where(kept, norm, 0.0)

    def step(carry: Basis, index: Int[Array, ""]) -> tuple[Basis, tuple[Scalar, Scalar]]:
        bases, both, scale = carry
        bases = tuple(rows.at[index].set(row) for rows, row in zip(bases, both, strict=True))
        basis, duals, dual = bases[0], bases[-1], both[-1]
        image = product(dual)
        diagonal = dual @ image
        for _ in range(2):
            image -= (duals @ image) @ basis
        scale = floor = jnp.maximum(scale, jnp.abs(diagonal))
        if metric is not None:
            floor = jnp.maximum(scale, jnp.max(jnp.linalg.norm(duals, axis=1)) * jnp.linalg.norm(image))
        following, off_diagonal = normalize(image, 10 * jnp.finfo(image.dtype).eps * floor)
        return (bases, following, scale), (diagonal, off_diagonal)

    zero = jnp.zeros((), start.dtype)
    first, _ = normalize(start, zero)
    empty = tuple(jnp.zeros((num_products, start.size), start.dtype) for _ in first)
    (bases, _, _), diagonals = jax.lax.scan(step, (empty, first, zero), jnp.arange(num_products))
    return Tridiagonal(bases[0], *diagonals)


def transfer_spectrum(problem: Problem, instance: Instance, direction: Params, num_products: int) -> TransferSpectrum:
    r"""Lanczos's iteration from the teacher's displacement: one run for every number of steps and every learning rate.

    Its nodes $\lambda_i$ and weights $w_i$ give $\Delta_T^\top q(K) \Delta_T / \|\Delta_T\|^2 = \sum_i w_i
    q(\lambda_i)$ exactly for polynomials $q$ of degree up to $2m - 1$, $m$ the number of products. The basis is kept in
    memory, $m$ times the parameters.

    References:
        Golub and Meurant (2010), Matrices, Moments and Quadrature with Applications, section 6.2.
    """
    start, unravel = ravel_pytree(direction)
    product = kernel_product(problem, instance)

    def flat_product(vector: Vector) -> Vector:
        return ravel_pytree(product(unravel(vector)))[0]

    chain = tridiagonalize(flat_product, start, num_products)
    largest, top = largest_eigenvalue(chain.matrix)
    return TransferSpectrum(chain.matrix, largest, unravel(top @ chain.basis))


def largest_eigenvalue(matrix: Matrix) -> tuple[Scalar, Float[Array, " size"]]:
    r"""Largest eigenvalue of a positive semi-definite matrix and its unit eigenvector; zeros if the matrix is zero.

    By repeated squaring, to gaps of one part in $2^{40}$.
    """

    def normalize(array: jax.Array) -> jax.Array:
        norm: jax.Array = jnp.linalg.norm(array)
        return array / jnp.where(norm > 0, norm, 1.0)

    projection = jax.lax.fori_loop(0, 40, lambda _, power: normalize(power @ power), normalize(matrix))
    top = normalize(projection[jnp.argmax(jnp.diag(projection))])
    return top @ matrix @ top, top


def matrix_power(matrix: Matrix, exponent: Int[Array, ""]) -> Matrix:
    """Power of a square matrix with a traced exponent, from 0 to 2³¹ − 1, by repeated squaring."""

    def step(carry: tuple[Matrix, Matrix], bit: Int[Array, ""]) -> tuple[tuple[Matrix, Matrix], None]:
        result, power = carry
        return (jnp.where(bit == 1, result @ power, result), power @ power), None

    bits = (exponent >> jnp.arange(31)) & 1
    return jax.lax.scan(step, (jnp.eye(len(matrix), dtype=matrix.dtype), matrix), bits)[0][0]


def transfer_fraction(
    spectrum: TransferSpectrum, learning_rate: ArrayLike, num_steps: Int[Array, "*times"]
) -> Float[Array, "*times"]:
    r"""The transfer fraction $\rho_t = \sum_i w_i\,[1 - (1 - \eta\lambda_i)^t]$, as an entry of a power of the matrix.

    Exact for $t \le 2m - 1$, $m$ the number of Lanczos's products, and for every $t$ once the Krylov space is
    exhausted. Beyond, for $\eta\lambda_{max} \le 1$, the quadrature is never below the truth (all even derivatives of
    $(1 - \eta\lambda)^t$ are non-negative) and above it by at most $4 e^{-(2m - 1)^2 / 2t}$ (twice the distance of that
    power from polynomials of degree $2m - 1$): $m \approx 3\sqrt{t}$ is plenty. For $t \to \infty$ it is
    the share of $\|\Delta_T\|^2$ in the range of $K$.

    References:
        Sachdeva and Vishnoi (2014), Faster algorithms via approximation theory, theorem 3.3, for the distance.
    """
    decay = jnp.eye(len(spectrum.matrix)) - learning_rate * spectrum.matrix

    def fraction(steps: Int[Array, ""]) -> Scalar:
        return 1 - matrix_power(decay, steps)[0, 0]

    return jax.vmap(fraction)(jnp.ravel(num_steps)).reshape(num_steps.shape)


def iterate(step: Callable[[Params], Params], start: Params, times: Sequence[int]) -> Params:
    """Take many steps, and keep what one has after some numbers of them, ascending: a leading axis `(times,)`."""

    def stage(params: Params, num_steps: jax.Array) -> tuple[Params, Params]:
        params = jax.lax.fori_loop(0, num_steps, lambda _, params: step(params), params)
        return params, params

    return jax.lax.scan(stage, start, jnp.diff(jnp.array((0, *times))))[1]


def optimize(
    optimizer: optax.GradientTransformation,
    descend: Callable[[Params], Params],
    start: Params,
    times: Sequence[int],
) -> Params:
    """Let an optimizer follow a descent direction, and keep where it is after some numbers of steps, ascending."""

    def step(state: tuple[Params, optax.OptState]) -> tuple[Params, optax.OptState]:
        params, memory = state
        update, memory = optimizer.update(optax.tree.scale(-1.0, descend(params)), memory, params)
        return optax.apply_updates(params, update), memory

    return iterate(step, (start, optimizer.init(start)), times)[0]


def transferred_displacement(
    problem: Problem, instance: Instance, direction: Params, learning_rate: ArrayLike, times: Sequence[int]
) -> Params:
    r"""What reaches the student of the teacher's displacement, $d_t = [I - (I - \eta K)^t]\, \Delta_T$.

    $$d_{t+1} = d_t + \eta K (\Delta_T - d_t), \qquad d_0 = 0,$$

    with a leading axis `(times,)`; the student moves by $\epsilon$ times this, up to $O(\epsilon^2)$.

    References:
        Derived here. The student's descent direction $g(\theta, \epsilon)$ vanishes at $(\theta^0, 0)$, where
        $\partial g/\partial\epsilon = K\Delta_T$ and $\partial g/\partial\theta = -\mathbb{E}[J^\top (\partial^2 L_S /
        \partial z^2) J] = -K$: the term with $\partial^2 f/\partial\theta^2$ carries $\nabla_z L_S = 0$, and at $z = y$
        the loss's two second derivatives are opposite. So $\delta_{t+1} = \delta_t + \eta K(\epsilon\Delta_T -
        \delta_t) + O(\epsilon^2)$. No width is assumed.
    """
    product = kernel_product(problem, instance)

    def step(moved: Params) -> Params:
        return optax.tree.add_scale(moved, learning_rate, product(optax.tree.sub(direction, moved)))

    return iterate(step, optax.tree.zeros_like(direction), times)


def train_student(
    problem: Problem,
    instance: Instance,
    labels: BatchOutputs,
    learning_rate: Scalar,
    times: Sequence[int],
) -> Params:
    """Displacement of a student by gradient descent on fixed labels, with a leading axis `(times,)`."""

    def step(student: Params) -> Params:
        descent = imitation_descent(problem, student, instance.inputs, labels)
        return optax.tree.add_scale(student, learning_rate, descent)

    students = iterate(step, instance.student, times)
    return jax.tree.map(lambda after, before: after - before[None], students, instance.student)
