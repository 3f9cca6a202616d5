"""A group of seeds: inits, teachers, images and students, each made once and shared by all that need it."""

from collections.abc import Callable, Hashable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mlp_mnist import network, symmetry
from mlp_mnist.arms import RESCALING_SPREAD, Arm, Init, Measured
from mlp_mnist.data import Dataset
from mlp_mnist.distillation import (
    Removal,
    displacement_cosine,
    imitate_epoch,
    label_images,
    removals,
    score,
    teach_epoch,
)
from mlp_mnist.images import draw_all_images
from mlp_mnist.initialization import blend, draw_networks, epoch_keys, move, named_keys
from mlp_mnist.protocol import Logits, Protocol
from mlp_mnist.training import State, over_seeds, start_together
from theory.problem import Params


class SeedGroup:
    """A group of seeds on one device.

    Everything of seed `i` is drawn from `fold_in(root, i)`. A stranger starts from the init of seed `i + 1`, so that no
    student ever meets its own teacher, and no result depends on which other seeds run.
    """

    def __init__(self, data: Dataset, other_images: jax.Array | None, root: jax.Array, indices: jax.Array):
        """Take seeds by their numbers; `other_images` are those of another set, for points that need them."""
        self.data, self.other_images, self.num_pixels = data, other_images, data.train_images.shape[1]
        self.keys, self.next_keys = (named_keys(root, indices + step) for step in (0, 1))
        self.courses: dict[Hashable, tuple[int, State]] = {}
        self.made: dict[Hashable, jax.Array] = {}

    def train_for(
        self, name: Hashable, epochs: int, start: Callable[[], State], epoch: Callable[[State, int], State]
    ) -> Params:
        """Train a network, going on where an earlier call with the same name ended."""
        done, state = self.courses.get(name, (0, None))
        if state is None or done > epochs:
            done, state = 0, start()
        for number in range(done, epochs):
            state = epoch(state, number)
        self.courses[name] = (epochs, state)
        return state.params

    def init(self, protocol: Protocol) -> Params:
        """Draw the teachers' inits, with auxiliary heads."""
        return self.draw(self.keys["init"], ("dense", *protocol.hidden), protocol)

    def draw(self, keys: jax.Array, body: tuple, protocol: Protocol) -> Params:
        """Draw networks."""
        return draw_networks(keys, body, self.num_pixels, protocol.num_auxiliary, protocol.init_scale)

    def teacher(self, protocol: Protocol) -> Params:
        """Train the teachers; the auxiliary heads stay those of the inits."""
        reduced, init = protocol.teacher(), self.init(protocol)

        def start() -> State:
            return start_together({name: layer for name, layer in init.items() if name != "auxiliary"}, "adam")

        def epoch(state: State, number: int) -> State:
            return teach_epoch(reduced, state, self.data, epoch_keys(self.keys["teacher"], number))

        return self.train_for(reduced, protocol.teacher_epochs, start, epoch) | {"auxiliary": init["auxiliary"]}

    def images(self, protocol: Protocol) -> jax.Array:
        """Draw the students' images, or take real ones, which all seeds share, repeated as often as need be."""
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

    def student_inits(self, protocol: Protocol, init: Init) -> tuple[Params, symmetry.UnitMap | None]:
        """Make the students' inits, in the teachers' coordinates, and say how their units differ, if they do."""
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
        """Train students to give the outputs of the teachers' inits, all logits."""
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
        """Train students on a teacher's logits."""
        pixels = self.images(protocol)
        labels = label_images(protocol.teacher(), teacher, pixels)

        def epoch(state: State, number: int) -> State:
            keys = epoch_keys(self.keys[stream], number)
            return imitate_epoch(protocol.imitation(), tuple(chosen), state, pixels, labels, keys, removal)

        return self.train_for(name, epochs, lambda: start_together(list(inits), protocol.optimizer), epoch)

    def students(self, protocol: Protocol, arms: Sequence[Arm]) -> list[tuple[Params, Params, symmetry.UnitMap | None]]:
        """Train the students; beside each stands its init in the teacher's coordinates, and how its units differ."""
        teacher = self.teacher(protocol)
        inits = [self.student_inits(protocol, arm.init) for arm in arms]
        moved = [init if unit_map is None else move(unit_map, init) for init, unit_map in inits]
        removal = self.removal(protocol, teacher)
        name = (protocol.student(), tuple(arms))
        chosen: list[Logits] = [arm.logits for arm in arms]
        students = self.imitate(name, protocol, protocol.student_epochs, moved, chosen, teacher, "student", removal)
        return [(student, *init) for student, init in zip(students, inits, strict=True)]

    def removal(self, protocol: Protocol, teacher: Params) -> Removal | None:
        """Say what is taken out of each of the students' steps, along the hidden layers' displacements of teachers."""
        if protocol.removed == "nothing":
            return None
        displacement = optax.tree.sub(teacher["hidden"], self.init(protocol)["hidden"])
        return removals(displacement, self.keys["signs"], randomly=protocol.removed == "random")

    def measure(self, protocol: Protocol, arms: Sequence[Arm]) -> Measured:
        """Run one point of an experiment."""
        init, teacher, reduced = self.init(protocol), self.teacher(protocol), protocol.teacher()
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
            reference=np.asarray(score(reduced, init, self.data)),
            teacher=np.asarray(score(reduced, teacher, self.data)),
            students=np.stack(jax.device_get(accuracies), axis=-1),
            cosines=np.stack(jax.device_get(cosines), axis=-1),
        )
