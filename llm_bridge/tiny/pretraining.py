"""Pretraining of the tiny model: from a random init and a corpus to a base model, kept in the user's cache."""

import hashlib
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from llm_bridge.files.checkpoints import load_checkpoint, save_checkpoint
from llm_bridge.files.settings import written_down
from llm_bridge.files.training_log import TrainingLog
from llm_bridge.model.finetuning import Training, fine_tune
from llm_bridge.model.lessons import Lesson
from llm_bridge.model.recipes import Recipe
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.text.chats import Example, Language, Rows, pack
from llm_bridge.tiny.tokenizer import build_language, render
from llm_bridge.tiny.world import World, write_corpus
from theory.problem import Params
from theory.runs.command_line import InputError, require, require_writable
from theory.runs.files import cache_folder, json_text
from theory.runs.progress import Progress

ROW = 60
"""Tokens of a row; the longest chat of the world has one less."""


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """How a tiny base model is made."""

    world: World = field(default_factory=World)
    """The corpus."""
    width: int = 64
    """Features of the residual stream."""
    num_layers: int = 2
    """Layers."""
    num_heads: int = 4
    """Heads."""
    hidden: int = 160
    """Units of a layer's SwiGLU."""
    recipe: Recipe = field(
        default_factory=lambda: Recipe(
            learning_rate=3e-3, num_epochs=2, batch=64, warmup=50, weight_decay=0.01, trained="everything"
        )
    )
    """The training."""

    def __post_init__(self) -> None:
        require(self.recipe.trained == "everything", "trained", "everything", self.recipe.trained)


class Corpus(NamedTuple):
    """The tiny world, read."""

    language: Language
    """Tokenizer and chat template."""
    rows: Rows
    """The chats, packed; every token but the first of a chat is to be learned."""


@cache
def read_world(world: World) -> Corpus:
    """Write the corpus and read it."""
    texts = [render(chat) for chat in write_corpus(world)]
    language = build_language(texts)
    return Corpus(language, pack([Example(tokens[:1], tokens[1:]) for tokens in language.encode(texts)], ROW))


def shape_of(pretraining: Pretraining) -> Config:
    """Give the tiny model's shape."""
    return Config(
        vocabulary=read_world(pretraining.world).language.tokenizer.get_vocab_size(),
        width=pretraining.width,
        num_layers=pretraining.num_layers,
        num_heads=pretraining.num_heads,
        num_key_heads=pretraining.num_heads,
        head_size=pretraining.width // pretraining.num_heads,
        hidden=pretraining.hidden,
    )


def pretrain(
    pretraining: Pretraining, seed: int, after: Callable[[Training, np.ndarray], None] = lambda training, losses: None
) -> Params:
    """Make a base model; the seed decides its init and the order of the corpus."""
    config = shape_of(pretraining)
    init = initialize(config, jax.random.key(seed))
    lesson = Lesson(read_world(pretraining.world).rows)
    return fine_tune(config, pretraining.recipe, init, lesson, seed=seed, after=after)


def checkpoint_of(pretraining: Pretraining, seed: int) -> Path:
    """Say where a base model is kept: the name depends on its configuration, its corpus and JAX's version."""
    corpus = hashlib.sha256(read_world(pretraining.world).rows.tokens.tobytes()).hexdigest()
    known = json_text(written_down(pretraining) | {"corpus": corpus, "jax": jax.__version__})
    digest = hashlib.sha256(known).hexdigest()[:8]
    return cache_folder() / "llm_bridge" / f"tiny-{digest}-{seed}.safetensors"


def base_model(pretraining: Pretraining, seed: int) -> Params:
    """Take a base model from the cache, or make it and keep it there; a damaged file is made anew."""
    path = checkpoint_of(pretraining, seed)
    like = jax.eval_shape(lambda: initialize(shape_of(pretraining), jax.random.key(seed)))
    with suppress(InputError):
        return load_checkpoint(path, like)[0]
    require_writable(path, folder=False, option="$XDG_CACHE_HOME")
    num_steps = pretraining.recipe.steps(len(read_world(pretraining.world).rows.tokens))
    with Progress(f"pretrain seed {seed}", num_steps, "steps") as progress, closing(TrainingLog(path)) as log:

        def after(training: Training, losses: np.ndarray) -> None:
            progress.advance(len(losses))
            log.add(int(training.step), losses)

        params = jax.device_get(pretrain(pretraining, seed, after))
    save_checkpoint(path, params, metadata={"config": json_text(written_down(pretraining)).decode(), "seed": str(seed)})
    return params
