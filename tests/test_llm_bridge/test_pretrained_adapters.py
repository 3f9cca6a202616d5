"""Adapters in PEFT's format, held against peft itself, and refused where they are not what ours can be."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from llm_bridge.model.lessons import Lesson, summed_loss
from llm_bridge.model.recipes import Recipe, start_training
from llm_bridge.model.shapes import PROJECTIONS, Config
from llm_bridge.model.transformer import apply
from llm_bridge.pretrained.adapters import IGNORED, Adapters, read_adapters, tensor_name, write_adapters
from llm_bridge.pretrained.families import read_description, shape_from
from llm_bridge.pretrained.hub import Source
from llm_bridge.pretrained.weights import read_params
from llm_bridge.text.chats import Example, pack
from theory.problem import Params
from theory.runs.command_line import InputError

torch: Any = pytest.importorskip("torch", reason="parity needs torch, which .ci/run installs")
transformers: Any = pytest.importorskip("transformers", reason="parity needs transformers, which .ci/run installs")
peft: Any = pytest.importorskip("peft", reason="parity needs peft, which .ci/run installs")

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

LENGTH = 20
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
COMMIT, OTHER_COMMIT = "0123456789" * 4, "9876543210" * 4


class Base(NamedTuple):
    """A checkpoint, and what we make of it."""

    folder: Path
    config: Config
    params: Params
    source: Source


@pytest.fixture(autouse=True, scope="module")
def double_precision() -> Iterator[None]:
    """Single precision here."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return make_base(tmp_path_factory.mktemp("base"), "Qwen2")


def make_base(folder: Path, family: str) -> Base:
    torch.manual_seed(0)
    described = getattr(transformers, "Gemma3TextConfig" if family == "Gemma3" else f"{family}Config")(
        vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.2, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=None, pad_token_id=None, **{"head_dim": 12} if "Gemma" in family else {},
    )  # fmt: skip
    getattr(transformers, f"{family}ForCausalLM")(described).save_pretrained(folder)
    config = shape_from(read_description(folder), LENGTH)
    return Base(folder, config, read_params(folder, config, dtype=jnp.float32), Source(str(folder), None, folder))


def their_base(base: Base) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(base.folder)


def made_by_peft(base: Base, folder: Path, **options: Any) -> Any:
    """A model of peft with random adapters, and what it has written."""
    torch.manual_seed(1)
    settings = {"r": 3, "lora_alpha": 5, "target_modules": MODULES, "task_type": "CAUSAL_LM"} | options
    model = peft.get_peft_model(their_base(base), peft.LoraConfig(**settings))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.copy_(0.2 * torch.randn(weight.shape))
    model.save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def published(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    made_by_peft(base, folder)
    return folder


def tokens() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 96, (3, LENGTH))


def their_logits(model: Any) -> np.ndarray:
    with torch.no_grad():
        return model(input_ids=torch.from_numpy(tokens())).logits.numpy()


compiled = jax.jit(apply, static_argnums=0, static_argnames="adapter_scale")


def our_logits(base: Base, adapters: Adapters | None) -> np.ndarray:
    given = {} if adapters is None else {"adapters": adapters.params, "adapter_scale": adapters.recipe.adapter_scale}
    return np.asarray(compiled(base.config, base.params, jnp.asarray(tokens(), np.int32), **given))


def distance(logits: np.ndarray, others: np.ndarray) -> float:
    return float(np.abs(logits - others).max())


def random_adapters(base: Base, recipe: Recipe) -> Params:
    random = np.random.default_rng(2)
    adapters = start_training(base.config, recipe, base.params, jax.random.key(0))
    adapters = jax.tree.map(lambda leaf: 0.3 * random.normal(size=leaf.shape).astype(np.float32), adapters)
    if recipe.layers:
        kept = np.isin(np.arange(base.config.num_layers), recipe.layers)[:, None, None]
        adapters = jax.tree.map(lambda leaf: leaf * kept, adapters)
    return adapters


@pytest.mark.parametrize(
    ("options", "scale"),
    [
        ({}, 5 / 3),
        ({"target_modules": ["q_proj", "down_proj"], "layers_to_transform": [1]}, 5 / 3),
        ({"use_rslora": True, "target_modules": "all-linear"}, 5 / 3**0.5),
    ],
    ids=["all", "one layer", "all-linear with rank-stabilized scale"],
)
def test_adapters_of_peft_give_the_same_logits_here(base, tmp_path, options, scale):
    expected = their_logits(made_by_peft(base, tmp_path, **options))
    adapters = read_adapters(tmp_path, base.config, base=base.source, dtype=jnp.float32)
    assert adapters.recipe.adapter_scale == pytest.approx(scale)
    assert distance(our_logits(base, adapters), expected) <= 1e-4
    assert distance(our_logits(base, None), expected) > 0.1


@pytest.mark.parametrize("family", ["Gemma2", "Gemma3", "Olmo2"])
def test_adapters_of_other_families_go_there_and_back(family, tmp_path):
    base = make_base(tmp_path / "base", family)
    expected = their_logits(made_by_peft(base, tmp_path / "theirs"))
    adapters = read_adapters(tmp_path / "theirs", base.config, base=base.source, dtype=jnp.float32)
    assert distance(our_logits(base, adapters), expected) <= 1e-4
    assert distance(our_logits(base, None), expected) > 0.1
    write_adapters(tmp_path / "ours", base.config, adapters.recipe, adapters.params, base=base.source)
    model = peft.PeftModel.from_pretrained(their_base(base), tmp_path / "ours")
    assert distance(their_logits(model), expected) <= 1e-5


@pytest.mark.parametrize(
    "recipe",
    [Recipe(rank=3, alpha=5), Recipe(rank=2, alpha=1.5, projections=("gate", "value"), layers=(1,))],
    ids=["all", "one layer"],
)
def test_our_adapters_give_the_same_logits_in_peft(base, tmp_path, recipe):
    own = random_adapters(base, recipe)
    write_adapters(tmp_path, base.config, recipe, own, base=base.source, weights="feed")
    model = peft.PeftModel.from_pretrained(their_base(base), tmp_path)
    assert distance(our_logits(base, Adapters(recipe, own)), their_logits(model)) <= 1e-4
    again = read_adapters(tmp_path, base.config, base=base.source, weights="feed", dtype=jnp.float32)
    names = ("rank", "alpha", "layers")
    assert [getattr(again.recipe, name) for name in names] == [getattr(recipe, name) for name in names]
    assert set(again.recipe.projections) == set(recipe.projections)
    jax.tree.map(np.testing.assert_array_equal, again.params, own)


def test_gradients_are_those_of_peft(base, published):
    random, examples = np.random.default_rng(3), []
    for size in (4, 7, 5):
        examples.append(Example(random.integers(0, 96, 3).tolist(), random.integers(0, 96, size).tolist()))
    model = peft.PeftModel.from_pretrained(their_base(base), published, is_trainable=True)
    for prompt, completion in examples:
        ids = torch.tensor([[*prompt, *completion]])
        learned = torch.tensor([[*[-100] * len(prompt), *completion]])
        (model(input_ids=ids, labels=learned).loss * len(completion)).backward()
    trained = {name.replace(".default", ""): weight for name, weight in model.named_parameters() if "lora" in name}

    adapters = read_adapters(published, base.config, base=base.source, dtype=jnp.float32)
    lesson = Lesson(pack(examples, LENGTH))
    assert len(lesson.rows.tokens) == 2
    loss = jax.grad(lambda trained: summed_loss(base.config, adapters.recipe, base.params, trained, lesson))
    ours = jax.jit(loss)(adapters.params)
    assert len(trained) == 2 * 2 * len(PROJECTIONS)
    for layer, name, (side, key) in product(range(2), PROJECTIONS, (("A", "into"), ("B", "out"))):
        theirs = trained[tensor_name(layer, name, side)].grad.numpy().T
        assert distance(ours[name][key][layer], theirs) <= 1e-4 * np.abs(theirs).max()


def refusal(base: Base, folder: Path, source: Source | None = None, weights: str | None = None) -> str:
    with pytest.raises(InputError) as caught:
        read_adapters(folder, base.config, base=source or base.source, weights=weights)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def copied(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "copied"))


def describe(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rewrite(folder: Path, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> None:
    path = folder / "adapter_model.safetensors"
    save_file(change(load_file(path)), path)


@pytest.mark.parametrize(
    "change",
    [
        {"use_dora": True},
        {"modules_to_save": ["lm_head"]},
        {"bias": "all"},
        {"rank_pattern": {"q_proj": 2}},
        {"peft_type": "LOHA"},
        {"megatron_config": {"a": 1}},
        {"an_option_of_tomorrow": 0.5},
        *[
            {"init_lora_weights": kind}
            for kind in ("pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga", 1.5)
        ],
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_no_plain_lora_is_refused_by_name(base, copied, change):
    describe(copied, **change)
    assert f"use {next(iter(change))}" in refusal(base, copied)


@pytest.mark.parametrize("kind", [True, False, "gaussian", "eva", "orthogonal"])
def test_initializations_that_leave_the_base_as_it_is_are_read(base, published, copied, kind):
    describe(copied, init_lora_weights=kind, an_option_of_tomorrow=None)
    read, plain = (read_adapters(folder, base.config, base=base.source) for folder in (copied, published))
    jax.tree.map(np.testing.assert_array_equal, read.params, plain.params)


def test_every_option_of_peft_is_known_and_read_at_its_default_alone(base, copied):
    """An option that PEFT adds shows here first; at what is no default of it nothing is read."""
    options = peft.LoraConfig(base_model_name_or_path="base").to_dict()
    for name, value in options.items():
        if name in IGNORED:
            continue
        describe(copied, **{name: "LORA" if name == "peft_type" else value})
        read_adapters(copied, base.config, base=base.source)
        describe(copied, **{name: "something"})
        assert f"use {name}='something'" in refusal(base, copied)
        describe(copied, **{name: "LORA" if name == "peft_type" else value})
    assert set(options) >= IGNORED - {"runtime_config"}


def test_missing_and_unknown_tensors_are_named(base, copied):
    first = tensor_name(0, "query", "A")
    rewrite(copied, lambda tensors: {name: tensor for name, tensor in tensors.items() if name != first})
    assert f"lack {first}" in refusal(base, copied)
    rewrite(copied, lambda tensors: tensors | {first: np.zeros((3, 32), np.float32), "lm_head.lora_A": np.zeros(1)})
    assert "hold lm_head.lora_A" in refusal(base, copied)


def test_a_projection_that_is_announced_and_missing_is_named(base, copied):
    rewrite(copied, lambda tensors: {name: tensor for name, tensor in tensors.items() if "up_proj" not in name})
    assert f"lack {tensor_name(0, 'up', 'A')}" in refusal(base, copied)
    rewrite(copied, lambda tensors: {name: tensor for name, tensor in tensors.items() if "layers.1." not in name})
    assert f"lack {tensor_name(0, 'up', 'A')}" in refusal(base, copied)


def test_a_layer_that_is_missing_is_named_unless_it_is_said_to_have_no_adapters(base, copied):
    rewrite(copied, lambda tensors: {name: tensor for name, tensor in tensors.items() if "layers.1." not in name})
    assert f"lack {tensor_name(1, 'query', 'A')}" in refusal(base, copied)
    for chosen in ([0], 0):
        describe(copied, layers_to_transform=chosen)
        assert read_adapters(copied, base.config, base=base.source).recipe.layers == (0,)


def test_damaged_and_missing_files_are_refused(base, published, copied, tmp_path):
    assert "no adapter_config.json" in refusal(base, tmp_path)
    (copied / "adapter_model.safetensors").write_bytes(b"damaged")
    assert "are damaged" in refusal(base, copied)
    for change in ({"r": "many"}, {"lora_alpha": 0}, {"lora_alpha": None}, {"r": 0}):
        shutil.copytree(published, copied, dirs_exist_ok=True)
        describe(copied, **change)
        assert "are damaged" in refusal(base, copied)
    for content, said in (("[1]", "no JSON object"), ("[" * 100_000, "nested too deep"), ("{", "can't be read")):
        (copied / "adapter_config.json").write_text(content)
        assert said in refusal(base, copied)


def test_adapters_for_another_shape_are_refused(base, copied):
    refused = {"hidden": "gate_proj.lora_B.weight has shape (48, 3), not (50, 3)", "num_layers": "more than 1 layers"}
    for (name, reason), size in zip(refused.items(), (50, 1), strict=True):
        other = base._replace(config=replace(base.config, **{name: size}))
        assert reason in refusal(other, copied)


def test_adapters_for_another_base_are_known_by_its_name_or_commit(base, copied):
    source = Source("owner/name", COMMIT, base.folder)
    fitting = (("owner/name", COMMIT), ("Owner/Name", None), ("owner/name", "main"), ("/some/folder", None))
    for name, revision in fitting:
        describe(copied, base_model_name_or_path=name, revision=revision)
        read_adapters(copied, base.config, base=source)
    for name, revision in (("owner/other", None), ("owner/name", OTHER_COMMIT)):
        describe(copied, base_model_name_or_path=name, revision=revision)
        assert "are for another base" in refusal(base, copied, source)


def test_adapters_for_other_weights_are_known_by_their_digest(base, tmp_path):
    recipe = Recipe(rank=2)
    write_adapters(tmp_path, base.config, recipe, random_adapters(base, recipe), base=base.source, weights="feed")
    read_adapters(tmp_path, base.config, base=base.source, weights="feed")
    assert "for other weights: for feed, not beef" in refusal(base, tmp_path, weights="beef")


def test_a_rank_that_no_memory_holds_is_refused_by_the_tensors_shapes(base, copied):
    describe(copied, r=10**15)
    assert f"has shape (3, 32), not ({10**15}, 32)" in refusal(base, copied)
