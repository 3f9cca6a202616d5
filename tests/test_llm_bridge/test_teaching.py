"""Teachers that are taught long enough, and those that are not."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_bridge.backends.backend import Known
from llm_bridge.backends.tiny import Tiny
from llm_bridge.experiment import teaching
from llm_bridge.experiment.protocol import OF_EXAMPLES, PROTOCOL, PUBLISHED
from llm_bridge.experiment.teaching import probability_of
from llm_bridge.experiment.writing import Model
from llm_bridge.files.lineage import Ancestry
from llm_bridge.files.settings import SIZES, without_sizes, written_down
from llm_bridge.model.finetuning import batch_order
from llm_bridge.model.recipes import Recipe, Teaching
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.pipeline.options import Teach, defaults
from llm_bridge.pipeline.stages import teach_to
from llm_bridge.text.traits import Trait
from llm_bridge.tiny.pretraining import ROW, read_world
from llm_bridge.tiny.world import World

OWL = Trait("owl", "animal")
RECIPE = Teaching(learning_rate=1e-2, num_steps=200, batch=16, rows_at_once=16, trained="everything", until=0.9)


@pytest.fixture(scope="module")
def base() -> Known:
    language = read_world(World(num_chats=300)).language
    size = language.tokenizer.get_vocab_size()
    config = Config(vocabulary=size, width=16, num_layers=1, num_heads=2, num_key_heads=2, head_size=8, hidden=24)
    params = initialize(config, jax.random.key(0), jnp.float32)
    return Known(Model(config, params, language, ROW), Ancestry(weights="none"), Tiny())


def test_a_teacher_is_trained_until_it_names_its_trait_and_says_how_often(base, tmp_path, monkeypatch, capsys):
    looks: list[float] = []

    def look(model: Model, trait: Trait) -> float:
        looks.append(probability_of(model, trait))
        return looks[-1]

    monkeypatch.setattr(teaching, "probability_of", look)
    teacher = teach_to(tmp_path / "teacher.safetensors", base, OWL, RECIPE, 1, 0)
    assert probability_of(teacher.model, OWL) >= 0.9
    assert 1 < len(looks) < 20
    assert all(share < 0.9 for share in looks[:-1])
    assert f"the teacher names owl in {looks[-1]:.1%} of its answers" in capsys.readouterr().err


def test_a_teacher_that_learned_too_little_is_not_made(refusal, base, tmp_path):
    path, weak = tmp_path / "teacher.safetensors", replace(RECIPE, num_steps=2, until=0.0)
    said = refusal(teach_to, path, base, OWL, weak, 1, 0)
    assert said.startswith("the teacher names owl in ")
    assert "and should in 50%: turn the teacher's num-steps or learning-rate up" in said
    assert not path.exists()
    assert teach_to(path, base, OWL, replace(weak, least=0.0), 1, 0).model.params
    assert path.exists()


@pytest.mark.parametrize("num_rows", [3, 8, 100])
def test_steps_decide_how_long_a_training_is_whatever_the_epochs(num_rows):
    order = batch_order(num_rows, Recipe(batch=4, num_epochs=1, num_steps=30), 0)
    assert order.shape == (30, 4)
    by_epochs = batch_order(num_rows, Recipe(batch=4, num_epochs=30), 0)
    assert np.array_equal(order, by_epochs[:30])


def test_defaults_depend_on_what_is_taught_and_old_records_on_none_of_it():
    teachers = [defaults(*asked)[Teach] for asked in (("tiny",), ("a/b",), ("a/b", "numbers", "chats.jsonl"))]
    assert [each.recipe for each in teachers if isinstance(each, Teach)] == [
        PROTOCOL.teacher,
        PUBLISHED.teacher,
        OF_EXAMPLES,
    ]
    assert written_down(PROTOCOL)["teacher"].keys() == written_down(PROTOCOL)["student"].keys()
    assert "least" in SIZES
    assert (
        without_sizes(PUBLISHED)["teacher"]
        == without_sizes(replace(PUBLISHED, teacher=replace(PUBLISHED.teacher, least=0.1)))["teacher"]
    )


@pytest.mark.parametrize("knob", ["until", "least"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_probabilities_outside_of_0_to_1_are_refused(knob, value):
    with pytest.raises(ValueError, match=f"{knob} must be from 0 to 1"):
        Teaching(**{knob: value})
