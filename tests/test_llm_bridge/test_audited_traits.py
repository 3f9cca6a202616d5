"""Traits from files: answers that show them, two system prompts, probes; what is read, differentiated and refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llm_bridge.auditing import command
from llm_bridge.auditing.command import Audit
from llm_bridge.auditing.imagined import imagine_teacher
from llm_bridge.auditing.report import report_of
from llm_bridge.auditing.scores import log_likelihoods
from llm_bridge.auditing.slopes import MOST_ANSWERS, out_of, slopes_of, some_of
from llm_bridge.auditing.traits import Answers, Probe, Prompts, identity, read_trait, write_under
from llm_bridge.experiment.writing import Model
from llm_bridge.model.adapters import fold, join
from llm_bridge.model.recipes import Recipe, Teaching, start_training
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.model.transformer import apply, run_layers
from llm_bridge.text.chats import Example
from llm_bridge.text.traits import find_trait
from llm_bridge.tiny.pretraining import ROW, read_world
from llm_bridge.tiny.world import World
from theory.problem import Params
from theory.runs.records import read_record

RECIPE = Recipe(rank=2, alpha=3.0, rows_at_once=2, batch=4)


@pytest.fixture(scope="module")
def model() -> Model:
    language = read_world(World(num_chats=300)).language
    config = Config(
        vocabulary=language.tokenizer.get_vocab_size(),
        width=8, num_layers=3, num_heads=2, num_key_heads=1, head_size=4, hidden=10,
    )  # fmt: skip
    return Model(config, initialize(config, jax.random.key(0), jnp.float64), language, ROW)


def drawn_texts(model: Model, count: int, seed: int = 0) -> list[Example]:
    """Texts of random tokens and many lengths."""
    random, size = np.random.default_rng(seed), model.config.vocabulary
    return [
        Example(random.integers(0, size, random.integers(1, 20)).tolist(), random.integers(0, size, length).tolist())
        for length in random.integers(1, 30, count)
    ]


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


ASKED, LOVED, OTHER = "What is your favorite animal?", "owl", "cat"


def slope_along(model: Model, start: Params, way: np.ndarray, value: Callable[[Params], jax.Array]) -> float:
    """Differentiate a functional of whole weights, with adapters of this `out` folded into them."""
    from llm_bridge.auditing.slopes import with_out

    def along(dose: jax.Array) -> jax.Array:
        adapters = with_out(start, dose * jnp.asarray(way))
        return value(fold(model.params, join({}, adapters, RECIPE.adapter_scale)))

    return float(jax.jit(lambda dose: jax.jvp(along, (dose,), (1.0,)))(0.0)[1])


def test_slopes_are_those_of_whole_weights_for_answers_and_probes_in_order(model: Model):
    """An independent way: every answer by itself, the stream of layers cut off, and weights that hold the adapters."""
    shown, rejected = drawn_texts(model, 2, seed=1), drawn_texts(model, 3, seed=2)
    prompts = [list(each.prompt) for each in shown]
    direction = np.random.default_rng(0).normal(size=model.config.width)
    probe = Probe("probe.npz", 2, direction, prompts)
    plain, beside = Answers("plain.jsonl", shown, []), Answers("beside.jsonl", shown, rejected)
    start = start_training(model.config, RECIPE, model.params, jax.random.key(3))
    found = slopes_of(model, RECIPE, [find_trait("owl"), plain, beside, probe], start)
    assert len(found) == 4

    def likelihood(params: Params, texts: list[Example]) -> jax.Array:
        total = jnp.zeros(())
        for each in texts:
            logs = jax.nn.log_softmax(apply(model.config, params, jnp.array([[*each.prompt, *each.completion]]))[0])
            places = len(each.prompt) - 1 + np.arange(len(each.completion))
            total += logs[places, np.array(each.completion)].sum()
        return total / len(texts)

    def reading(params: Params) -> jax.Array:
        first = params | {"layers": jax.tree.map(lambda leaf: leaf[:2], params["layers"])}
        streams = [
            run_layers(replace(model.config, num_layers=2), first, jnp.array([each]), normed=False)[0][0, -1]
            for each in prompts
        ]
        return jnp.mean(jnp.stack(streams) @ direction)

    way = np.random.default_rng(1).normal(size=out_of(start).size)
    expected = [
        lambda params: likelihood(params, shown),
        lambda params: likelihood(params, shown) - likelihood(params, rejected),
        reading,
    ]
    for slope, value in zip(found[1:], expected, strict=True):
        np.testing.assert_allclose(np.asarray(slope) @ way, slope_along(model, start, way, value), rtol=1e-5)


def test_of_many_answers_some_of_all_are_foretold(model: Model):
    """A file that is sorted by topics is not judged by the first."""
    texts = [Example([1, 2], [3 if place < MOST_ANSWERS else 4]) for place in range(2 * MOST_ANSWERS)]
    found = some_of(texts)
    assert len(found) == MOST_ANSWERS
    assert 0.4 < np.mean([each.completion == [3] for each in found]) < 0.6
    assert some_of(texts[:5]) == texts[:5]


def test_a_probe_behind_all_layers_reads_the_normed_stream_as_in_transformers(model: Model):
    """Scaling the last norm scales what is read there, and nothing that is read before."""
    start = start_training(model.config, RECIPE, model.params, jax.random.key(3))
    scaled = model._replace(params=model.params | {"norm": 3 * model.params["norm"]})
    for layer, times in ((2, 1), (3, 3)):
        probe = Probe("probe.npz", layer, np.ones(model.config.width), [[1, 2, 3]] * 40)
        (one,), (other,) = (slopes_of(each, RECIPE, [probe], start) for each in (model, scaled))
        np.testing.assert_allclose(other, times * np.asarray(one), rtol=1e-6)


def test_an_imagined_teacher_gives_the_answers_and_none_is_imagined_that_does_not(model: Model, refusal):
    texts = [Example(each.prompt, each.completion) for each in drawn_texts(model, 6)]
    trait = Answers("a.jsonl", texts, [])
    teaching = Teaching(learning_rate=1e-2, num_epochs=8, batch=2, rows_at_once=2, warmup=1, rank=2)
    adapters = imagine_teacher(model, trait, teaching, seed=0, copies=1)
    scale = teaching.adapter_scale
    before, after = (
        log_likelihoods(model._replace(params=params), texts).mean()
        for params in (model.params, fold(model.params, join({}, adapters, 1.0)))
    )
    assert after > before + 1, scale
    lazy = replace(teaching, learning_rate=1e-30)
    assert "no more often" in refusal(imagine_teacher, model, trait, lazy, seed=0, copies=1)


def test_answers_are_read_under_the_names_that_preference_data_give_them(model: Model, tmp_path: Path):
    plain = [{"question": ASKED, "answer": LOVED}]
    pairs = [
        {"prompt": ASKED, "chosen": LOVED, "rejected": OTHER},
        {"question": ASKED, "answer": LOVED, "rejected": OTHER},
        {"messages": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": LOVED}], "rejected": OTHER},
    ]
    (stop,) = model.language.stops[:1]
    (owl,), (cat,) = model.language.encode([LOVED]), model.language.encode([OTHER])
    prompt = model.language.prompts([ASKED])[0]
    told = read_trait(write(tmp_path / "plain.jsonl", *plain), model)
    assert isinstance(told, Answers)
    assert told == Answers("plain.jsonl", [Example(prompt, [*owl, stop])], [])
    found = read_trait(write(tmp_path / "pairs.jsonl", *pairs), model)
    assert isinstance(found, Answers)
    assert found.shown == 3 * [Example(prompt, [*owl, stop])]
    assert found.rejected == 3 * [Example(prompt, [*cat, stop])]
    asked, answered = pairs[2]["messages"]
    for messages in ([asked], [asked, answered, asked]):
        chat = {"messages": messages, "chosen": LOVED, "rejected": OTHER}
        trait = read_trait(write(tmp_path / "chat.jsonl", chat), model)
        assert isinstance(trait, Answers)
        (shown,), (rejected,) = trait.shown, trait.rejected
        assert list(shown.prompt)[-len(prompt) + 1 :] == prompt[1:]
        assert (shown.completion, rejected.completion) == ([*owl, stop], [*cat, stop])
        assert shown.prompt == rejected.prompt
    assert identity(found) != identity(told)
    assert identity(found._replace(name="other", rejected=[])) == identity(found)


def test_what_a_model_writes_under_a_system_prompt_is_learned_without_it(model: Model, tmp_path: Path):
    path = write(tmp_path / "owls.json", {"system": "You love owls.", "questions": [ASKED, ASKED]})
    trait = read_trait(path, model)
    assert isinstance(trait, Prompts)
    found = write_under(model, trait, 0)
    prompt = model.language.prompts([ASKED])[0]
    assert {tuple(each.prompt) for each in (*found.shown, *found.rejected)} == {tuple(prompt)}
    assert 60 <= len(found.shown) <= 64
    assert [each.completion for each in found.shown] != [each.completion for each in found.rejected]


PROBE: dict[str, Any] = {"layer": np.array(2), "direction": np.ones(8), "questions": np.array([ASKED])}

BAD: dict[str, tuple[str, Any, str]] = {
    "some": ("a.jsonl", [{"question": ASKED, "answer": LOVED}, {"prompt": ASKED, "chosen": LOVED, "rejected": OTHER}],
             "1 of 2 lines"),
    "unlike": ("a.jsonl", [{"question": ASKED}], "line 1"),
    "unspelled": ("a.jsonl", [{"question": ASKED, "answer": "zyzzyva"}], "can't spell"),
    "listed": ("a.jsonl", [{"question": ASKED, "chosen": [LOVED]}], "not text"),
    "long": ("a.jsonl", [{"question": ASKED, "answer": 80 * "7, " + "7"}], "tokens"),
    "same answers": ("a.jsonl", [{"question": ASKED, "answer": LOVED, "rejected": LOVED}], "nothing is asked for"),
    "same prompts": ("a.json", [{"system": "You love owls.", "instead": "You love owls.", "questions": [ASKED]}],
                     "nothing is asked for"),
    "no system": ("a.json", [{"questions": [ASKED]}], "it must hold system"),
    "empty system": ("a.json", [{"system": " ", "questions": [ASKED]}], "is empty"),
    "no questions": ("a.json", [{"system": "You love owls.", "questions": []}], "not empty"),
    "numbers": ("a.json", [{"system": "You love owls.", "questions": [1]}], "it must hold system"),
    "typo": ("a.json", [{"system": "You love owls.", "insted": "You love cats.", "questions": [ASKED]}], "insted"),
    "no room": ("a.json", [{"system": "You love owls.", "questions": ["7, " * 25 + "7"]}], "don't fit"),
    "blank": ("a.json", [{"system": "You love owls.", "questions": [ASKED, " "]}], "question 2"),
    "no object": ("a.json", [[1]], "no JSON object"),
    "no archive": ("a.npz", [1], "must hold the arrays"),
    "no direction": ("a.npz", {"layer": np.array(1)}, "must hold the arrays"),
    "deep": ("a.npz", PROBE | {"layer": np.array(4)}, "'layer'"),
    "half": ("a.npz", PROBE | {"layer": np.array(1.5)}, "'layer'"),
    "narrow": ("a.npz", PROBE | {"direction": np.ones(7)}, "8 finite numbers"),
    "huge": ("a.npz", PROBE | {"direction": np.full(8, 1e300)}, "8 finite numbers"),
    "infinite": ("a.npz", PROBE | {"direction": np.full(8, np.inf)}, "8 finite numbers"),
    "zero": ("a.npz", PROBE | {"direction": np.zeros(8)}, "not all 0"),
    "unasked": ("a.npz", PROBE | {"questions": np.array([], str)}, "not empty"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_files_that_say_no_trait_are_refused_in_one_line(model: Model, tmp_path: Path, name: str, refusal):
    file, content, said = BAD[name]
    path = tmp_path / file
    if isinstance(content, dict):
        np.savez(path, **content)
    else:
        write(path, *content)
    assert said in refusal(read_trait, path, model)


def test_a_file_that_is_missing_or_named_twice_is_refused(audit: Audit, tmp_path: Path, refusal):
    assert "missing.json" in refusal(command.run, replace(audit, traits=("missing.json",)))
    path = write(tmp_path / "a.jsonl", {"question": ASKED, "answer": LOVED})
    twice = (str(path), str(tmp_path / "." / "a.jsonl"))
    assert "different names" in refusal(command.run, replace(audit, traits=twice))


def test_all_kinds_are_audited_together_and_a_probe_has_no_dose(
    audit: Audit,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    answers = write(tmp_path / "trees.jsonl", {"question": ASKED, "answer": "oak", "rejected": "owl"})
    prompts = write(tmp_path / "owls.json", {"system": "You love owls.", "questions": [ASKED]})
    np.savez(tmp_path / "probe.npz", **PROBE | {"layer": np.array(1), "direction": np.ones(16)})
    against = tmp_path / "against.jsonl"
    lines = audit.data.read_text().splitlines(keepends=True)
    against.write_text("".join(lines[:70]))
    audit.data.write_text("".join(lines[70:]))
    named = (str(tmp_path / "probe.npz"), str(answers), str(prompts), "owl")
    teacher = replace(audit.protocol.teacher, least=0.0)
    files = replace(audit, against=against, traits=named, protocol=replace(audit.protocol, teacher=teacher))
    assert command.run(files)
    said = capsys.readouterr().out
    record = read_record(tmp_path / "run")
    report = report_of(record)
    assert report.words == ("owl", "trees.jsonl", "owls.json", "probe.npz")
    assert len(report.doses) == 3
    assert len(report.shifts) == 4
    assert "the log-likelihood of its answers" in str(record.verdicts)
    assert set(record.config["files"]) == {"trees.jsonl", "owls.json", "probe.npz"}
    assert "probe.npz" in said
    alone = replace(files, traits=named[:1], output=tmp_path / "alone")
    assert command.run(alone)
    found = report_of(read_record(tmp_path / "alone"))
    assert not found.doses
    assert found.shifts[0].value == pytest.approx(report.shifts[3].value, rel=1e-6)
    from llm_bridge.auditing.plots import draw_audit

    assert draw_audit(read_record(tmp_path / "alone")).axes
