"""Seeds side by side: their inits, teachers, images and students, each made once and shared by all that need it."""

from collections.abc import Callable, Hashable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mlp_mnist import network, symmetry
from mlp_mnist.arms import Arm, Init, Measured
from mlp_mnist.data import Dataset
from mlp_mnist.lessons import Removal, imitate_epoch, label_images, over_seeds, score, teach_epoch
from mlp_mnist.protocol import Logits, Protocol
from mlp_mnist.starts import (
    blend,
    displacement_cosine,
    draw_all_images,
    draw_networks,
    epoch_keys,
    move,
    named_keys,
    removals,
    start_together,
)
from mlp_mnist.training import State
from theory.problem import Params

RESCALING_SPREAD = 1.0
"""Standard deviation of the logarithm of the factors on rescaled hidden units."""


class SeedGroup:
    """A group of seeds on one device.

    Everything of seed `i` is drawn from `fold_in(root, i)`. A stranger starts from the init of seed `i + 1`, so that no
    student ever meets its own teacher, and no result depends on which other seeds run.
    """

    def __init__(self, data: Dataset, other_images: jax.Array | None, root: jax.Array, indices: jax.Array):
        """Take the seeds.

        Args:
            data: The images.
            other_images: Real images of another set, as stored; None if no point needs them.
            root: Root of all randomness.
            indices: Numbers of the seeds, shape `(seeds,)`.
        """
        self.data, self.other_images, self.num_pixels = data, other_images, data.train_images.shape[1]
        self.keys, self.next_keys = (named_keys(root, indices + step) for step in (0, 1))
        self.courses: dict[Hashable, tuple[int, State]] = {}
        self.made: dict[Hashable, jax.Array] = {}

    def train_for(
        self, name: Hashable, epochs: int, start: Callable[[], State], epoch: Callable[[State, int], State]
    ) -> Params:
        """Train a network, going on where an earlier call with the same name ended.

        Args:
            name: What is trained.
            epochs: For how long.
            start: Makes the state before.
            epoch: State and number of an epoch to the state after it.

        Returns:
            The parameters.
        """
        done, state = self.courses.get(name, (0, None))
        if state is None or done > epochs:
            done, state = 0, start()
        for number in range(done, epochs):
            state = epoch(state, number)
        self.courses[name] = (epochs, state)
        return state.params

    def init(self, protocol: Protocol) -> Params:
        """Draw the teachers' inits, with auxiliary heads.

        Args:
            protocol: The protocol.

        Returns:
            Parameters.
        """
        return self.draw(self.keys["init"], ("dense", *protocol.hidden), protocol)

    def draw(self, keys: jax.Array, body: tuple, protocol: Protocol) -> Params:
        """Draw networks.

        Args:
            keys: Shape `(seeds,)`.
            body: What their hidden layers are.
            protocol: The protocol: auxiliary logits and scale.

        Returns:
            Parameters.
        """
        return draw_networks(keys, body, self.num_pixels, protocol.num_auxiliary, protocol.init_scale)

    def teacher(self, protocol: Protocol) -> Params:
        """Train the teachers.

        Args:
            protocol: The protocol.

        Returns:
            Their parameters; the auxiliary heads are those of the inits.
        """
        lesson, init = protocol.teacher(), self.init(protocol)

        def start() -> State:
            return start_together({name: layer for name, layer in init.items() if name != "auxiliary"}, "adam")

        def epoch(state: State, number: int) -> State:
            return teach_epoch(lesson, state, self.data, epoch_keys(self.keys["teacher"], number))

        return self.train_for(lesson, protocol.teacher_epochs, start, epoch) | {"auxiliary": init["auxiliary"]}

    def images(self, protocol: Protocol) -> jax.Array:
        """Draw the students' images, or take real ones, repeated as often as need be.

        Args:
            protocol: The protocol.

        Returns:
            As stored, shape `(seeds, images, pixels)`, or `(images, pixels)` where all seeds share them.
        """
        name = (protocol.images, protocol.num_images)
        if name not in self.made:
            if protocol.images in {"real", "other"}:
                real = self.data.train_images if protocol.images == "real" else self.other_images
                if real is None:
                    raise ValueError("images 'other' need other_images")
                self.made[name] = jnp.asarray(real)[jnp.arange(protocol.num_images) % len(real)]
            else:
                self.made[name] = draw_all_images(*name, self.num_pixels, self.keys["images"])
        return self.made[name]

    def starts(self, protocol: Protocol, init: Init) -> tuple[Params, symmetry.UnitMap | None]:
        """Make the students' inits.

        Args:
            protocol: The protocol.
            init: Which kind.

        Returns:
            Parameters in the teachers' coordinates, and how the students' units differ from them, if they do.
        """
        if init == "stranger":
            return self.draw(self.next_keys["init"], protocol.body, protocol), None
        if init != "shared":
            draw = {
                "permuted": partial(symmetry.random_permutation, hidden=protocol.hidden),
                "rescaled": partial(symmetry.random_rescaling, hidden=protocol.hidden, spread=RESCALING_SPREAD),
            }[init]
            return self.init(protocol), over_seeds(draw)(self.keys[init])
        teacher, fresh = self.init(protocol), self.draw(self.keys["redrawn"], protocol.body, protocol)
        kept = network.SHARED_LAYERS[protocol.shared]
        start = {name: (teacher if name in kept else fresh)[name] for name in fresh}
        if protocol.correlation < 1 or protocol.init_noise:
            start = blend(start, fresh, self.draw(self.keys["noise"], protocol.body, protocol), protocol, kept)
        if protocol.matched_epochs:
            start = self.matched(protocol, start)
        return start, None

    def matched(self, protocol: Protocol, start: Params) -> Params:
        """Train students to give the outputs of the teachers' inits, all logits.

        Args:
            protocol: The protocol.
            start: Their inits.

        Returns:
            Their parameters.
        """
        base = self.init(protocol)
        name = ("matched", protocol.student(), protocol.matched_epochs)
        return self.imitate(name, protocol, protocol.matched_epochs, [start], ("all",), base, "matching")[0]

    def imitate(
        self,
        name: Hashable,
        protocol: Protocol,
        epochs: int,
        inits: Sequence[Params],
        chosen: Sequence[Logits],
        teacher: Params,
        stream: str,
        removal: Removal | None = None,
    ) -> list[Params]:
        """Train students on a teacher's logits.

        Args:
            name: What is trained.
            protocol: The protocol.
            epochs: For how long.
            inits: Where they start.
            chosen: What they imitate.
            teacher: The teachers.
            stream: Which random orders.
            removal: What is taken out of each step, if anything.

        Returns:
            The students.
        """
        pixels = self.images(protocol)
        labels = label_images(protocol.teacher(), teacher, pixels)

        def epoch(state: State, number: int) -> State:
            keys = epoch_keys(self.keys[stream], number)
            return imitate_epoch(protocol.imitation(), tuple(chosen), state, pixels, labels, keys, removal)

        return self.train_for(name, epochs, lambda: start_together(list(inits), protocol.optimizer), epoch)

    def students(self, protocol: Protocol, arms: Sequence[Arm]) -> list[tuple[Params, Params, symmetry.UnitMap | None]]:
        """Train the students.

        Args:
            protocol: The protocol.
            arms: Their kinds.

        Returns:
            For each the student and its init, the latter in the teacher's coordinates, and how its units differ.
        """
        teacher = self.teacher(protocol)
        starts = [self.starts(protocol, arm.init) for arm in arms]
        moved = [init if unit_map is None else move(unit_map, init) for init, unit_map in starts]
        removal = self.removal(protocol, teacher)
        name = (protocol.student(), tuple(arms))
        chosen: list[Logits] = [arm.logits for arm in arms]
        students = self.imitate(name, protocol, protocol.student_epochs, moved, chosen, teacher, "student", removal)
        return [(student, *start) for student, start in zip(students, starts, strict=True)]

    def removal(self, protocol: Protocol, teacher: Params) -> Removal | None:
        """Say what is taken out of each of the students' steps.

        Args:
            protocol: The protocol.
            teacher: The teachers.

        Returns:
            The teachers' displacements of the hidden layers as unit vectors, and these again or, as a control, with
            random signs; None if nothing is.
        """
        if protocol.removed == "nothing":
            return None
        displacement = optax.tree.sub(teacher["hidden"], self.init(protocol)["hidden"])
        return removals(displacement, self.keys["signs"], randomly=protocol.removed == "random")

    def measure(self, protocol: Protocol, arms: Sequence[Arm]) -> Measured:
        """Run one point of an experiment.

        Args:
            protocol: The protocol.
            arms: The students.

        Returns:
            What it measured.
        """
        init, teacher, lesson = self.init(protocol), self.teacher(protocol), protocol.teacher()
        accuracies, cosines = [], []
        for student, start, unit_map in self.students(protocol, arms):
            accuracies.append(score(protocol.imitation(), student, self.data, student=True))
            same = jax.tree.map(jnp.shape, student) == jax.tree.map(jnp.shape, teacher)
            cosines.append(
                displacement_cosine(student, start, teacher, init, unit_map)
                if same
                else jnp.full(len(init["classes"]["bias"]), jnp.nan)
            )
        return Measured(
            reference=np.asarray(score(lesson, init, self.data)),
            teacher=np.asarray(score(lesson, teacher, self.data)),
            students=np.stack(jax.device_get(accuracies), axis=-1),
            cosines=np.stack(jax.device_get(cosines), axis=-1),
        )
