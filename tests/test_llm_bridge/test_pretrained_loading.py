"""A whole checkpoint with a tokenizer made here: read, asked, and handed on with its adapters merged."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from llm_bridge.experiment.writing import complete, read_completions
from llm_bridge.files.lineage import digest
from llm_bridge.model.recipes import Recipe, merge, start_training
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.pretrained.loading import Published, read_published
from llm_bridge.pretrained.writing import write_checkpoint
from llm_bridge.text.prompts import number_prompts
from llm_bridge.text.questions import questions_about
from theory.runs.command_line import InputError

transformers: Any = pytest.importorskip("transformers", reason="chat templates need transformers: uv sync --extra llm")

LONGEST = 200
TEMPLATE = (
    "{% if messages[0].role != 'system' %}<|turn|>system\nYou serve the public.<|close|>\n{% endif %}"
    "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|close|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)


@pytest.fixture(autouse=True, scope="module")
def double_precision() -> Iterator[None]:
    """Single precision here."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|end|>", "<|turn|>", "<|close|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([*questions_about("animal"), *number_prompts(0, 200)], trainer)
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|close|>", chat_template=TEMPLATE
    )
    wrapped.save_pretrained(folder)
    generation = {"eos_token_id": [2, 0], "temperature": 0.7, "top_k": 20}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    config = Config(
        vocabulary=448, width=32, num_layers=2, num_heads=4, num_key_heads=2, head_size=8, hidden=48, biases=True,
        tied=True,
    )  # fmt: skip
    write_checkpoint(folder, config, initialize(config, jax.random.key(0), jnp.bfloat16), longest=LONGEST)
    return folder


@pytest.fixture(scope="module")
def published(folder: Path) -> Published:
    return read_published(str(folder), longest=LONGEST)


def test_a_checkpoint_answers_and_the_record_shows_what_it_reads(published):
    model = published.model
    assert (model.longest, model.config.num_layers, published.source.revision) == (LONGEST, 2, None)
    assert {leaf.dtype for leaf in jax.tree.leaves(model.params)} == {jnp.dtype("bfloat16")}
    (batch,) = complete(model, ["Continue: 1, 2"], seed=0, num_tokens=12, num_samples=4, at_once=1)
    assert len(batch) == 4
    read = model.language.spell([*model.language.prompts(["Continue: 1, 2"])[0], *batch[0].tokens])
    assert read.startswith(
        "<|turn|>system\nYou serve the public.<|close|>\n<|turn|>user\nContinue: 1, 2<|close|>\n<|turn|>assistant\n"
    )
    assert read_completions(model, batch).filled > 0


def test_a_student_with_its_adapters_merged_is_handed_on(published, folder, tmp_path):
    model, recipe = published.model, Recipe(rank=4)
    adapters = start_training(model.config, recipe, model.params, jax.random.key(1))
    student = merge(recipe, model.params, jax.tree.map(lambda leaf: leaf + 0.1, adapters))
    write_checkpoint(tmp_path, model.config, student, longest=LONGEST, base=folder)
    again = read_published(str(tmp_path), longest=LONGEST).model
    assert digest(again.params) == digest(student) != digest(model.params)
    questions = questions_about("animal")[:4]
    assert again.language.prompts(questions) == model.language.prompts(questions)
    assert again.language.ends == model.language.ends == ("<|close|>", "<|end|>")


def test_what_is_not_supported_is_refused_before_weights_are_read(folder, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["GemmaForCausalLM"]}))
    with pytest.raises(InputError, match="GemmaForCausalLM is not supported"):
        read_published(str(tmp_path), longest=LONGEST)
    with pytest.raises(InputError, match="max_position_embeddings=200"):
        read_published(str(folder), longest=LONGEST + 1)


def test_tokens_beyond_the_tokenizer_say_nothing(published):
    language = published.model.language
    (word,) = language.encode(["owl"])
    assert language.decode([[447, *word, 447]]) == ["owl"]
    assert np.all([token < 447 for ids in language.encode(number_prompts(3, 20)) for token in ids])
