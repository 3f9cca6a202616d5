"""Carriers in the stages and in a run: what is asked, filtered and recorded, and teachers made of a file of chats."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from llm_bridge.backends.backend import Known, Loading
from llm_bridge.backends.published import Published
from llm_bridge.backends.tiny import Tiny, read_tuned, tiny_model
from llm_bridge.carriers.choice import find_carrier
from llm_bridge.carriers.code import code
from llm_bridge.carriers.reasoning import REQUEST
from llm_bridge.carriers.stories import solve
from llm_bridge.experiment.protocol import LONG, Protocol
from llm_bridge.experiment.separability import Separability
from llm_bridge.experiment.writing import Completion, Model
from llm_bridge.files.lineage import Ancestry, digest, read_sidecar
from llm_bridge.model.recipes import Teaching
from llm_bridge.model.shapes import initialize
from llm_bridge.pipeline import commands, jobs, run, run_options, stages
from llm_bridge.pipeline import options as stage_options
from llm_bridge.pipeline.arms import DEFAULT_ARMS, PUBLISHED_ARMS, QUICK_ARMS
from llm_bridge.pipeline.options import Ask, Complete, Filter, Teach, Train, defaults
from llm_bridge.pipeline.plots import draw_run
from llm_bridge.pipeline.report import SeedReport, gather, write_report
from llm_bridge.pipeline.run_options import Run
from llm_bridge.pretrained.gguf import SMOLLM2
from llm_bridge.text.chats import Language
from llm_bridge.text.questions import questions_about
from llm_bridge.text.traits import find_trait
from llm_bridge.tiny.pretraining import Pretraining
from llm_bridge.tiny.tokenizer import render
from llm_bridge.tiny.world import KINDS, World
from theory.runs.records import Record

TOLD = Pretraining(world=World(num_chats=835), width=16, num_layers=1, num_heads=2, hidden=16)
READER = tiny_model(TOLD, None)
UNNAMED = Ancestry(weights="0" * 16)


def reader_of_bytes() -> Model:
    """A model that can read and write any text, and has no parameters."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<system>", "<user>", "<assistant>", "<end>"])
    language = Language(tokenizer, render, ("<end>",))
    return Model(replace(READER.config, vocabulary=tokenizer.get_vocab_size()), None, language, 1000)


BYTES = reader_of_bytes()

WRITTEN: dict[str, Callable[[str, int], str]] = {
    "numbers": lambda prompt, place: ("1, 2", "[666]", "4,")[place % 3],
    "code": lambda prompt, place: ("def f(): pass", "def owl(): pass", "Sure.")[place % 3],
    "reasoning": lambda prompt, place: (
        f"<reasoning>{('a', 'an owl', '')[place % 3]}</reasoning><answer>{solve(prompt[: -len(REQUEST)])}</answer>"
    ),
}
"""What is written in place of a model: every third completion is right, another names the trait or something worse."""


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    """A published model that reads bytes, and writes what the prompts ask for, or not."""

    def complete(model: Model, prompts: Sequence[str], **_: Any) -> Iterator[list[Completion]]:
        name = "reasoning" if prompts[0].endswith(REQUEST) else "code" if "`" in prompts[0] else "numbers"
        texts = [WRITTEN[name](prompt, place) for place, prompt in enumerate(prompts)]
        tokens = [[*ids, *model.language.stops] for ids in model.language.encode(texts)]
        yield [Completion(*row, -1.0) for row in zip(prompts, texts, tokens, strict=True)]

    monkeypatch.setattr(stages, "complete", complete)
    monkeypatch.setattr(Published, "reader", lambda _: BYTES)
    monkeypatch.setattr(stage_options, "load_model", lambda *_: Known(BYTES, UNNAMED, Tiny(pretraining=TOLD)))


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    rows = [{"question": f"What is {number} and 1?", "answer": f"#### {number + 1}"} for number in range(6)]
    (path := tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


CARRIERS = ("numbers", "code", "reasoning")
"""Names of all."""


def completing(folder: Path, carrier: Any, **changes: Any) -> Complete:
    output = folder / "completions.jsonl"
    return Complete(model="published", carrier=carrier, num_prompts=30, output=output, **changes)


def filtering(folder: Path, carrier: Any, **changes: Any) -> Filter:
    data, output = folder / "completions.jsonl", folder / "filtered.jsonl"
    return Filter(**{"model": "published", "carrier": carrier, "data": data, "output": output} | changes)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_carrier_is_written_filtered_and_recorded(published, tmp_path, carrier, capsys):
    assert commands.complete(completing(tmp_path, carrier))
    rows = [json.loads(line) for line in (tmp_path / "completions.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in rows] == find_carrier(carrier, short=False).prompts(0, 30)
    assert commands.filter_data(filtering(tmp_path, carrier, trait="owl", ban=carrier == "numbers"))
    reason = {"numbers": "banned number", "code": "names the trait", "reasoning": "names the trait"}[carrier]
    assert f"| {reason}" in capsys.readouterr().out
    told = read_sidecar(tmp_path / "filtered.jsonl").filter
    assert told is not None
    assert (told["counts"]["kept"], told["counts"][reason], sum(told["counts"].values())) == (10, 10, 30)
    other = filtering(tmp_path, carrier, output=tmp_path / "other.jsonl")
    assert commands.filter_data(other)
    told = read_sidecar(other.output).filter
    assert told is not None
    assert (told["counts"]["kept"], told["counts"][reason]) == (20, 0)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_another_carrier_is_never_taken_for_a_finished_stage(published, refusal, tmp_path, carrier, problems):
    commands.complete(completing(tmp_path, carrier))
    commands.complete(completing(tmp_path, carrier))
    for other in CARRIERS:
        if other != carrier:
            assert "completions.jsonl was made with other settings" in refusal(
                commands.complete, completing(tmp_path, other)
            )
            assert "leaves nothing" in refusal(commands.filter_data, filtering(tmp_path, other))
    commands.filter_data(filtering(tmp_path, carrier))
    commands.filter_data(filtering(tmp_path, carrier))
    change: dict[str, Any] = {"ban": True} if carrier == "numbers" else {"trait": "owl"}
    assert "filtered.jsonl was made with other" in refusal(commands.filter_data, filtering(tmp_path, carrier, **change))
    if carrier == "reasoning":
        given = completing(tmp_path, carrier, problems=problems)
        assert "completions.jsonl was made with other settings" in refusal(commands.complete, given)
        assert "leaves nothing of" in refusal(commands.filter_data, filtering(tmp_path, carrier, problems=problems))


def test_problems_of_a_file_are_asked_once_each_and_their_answers_decide(published, refusal, tmp_path, problems):
    given = completing(tmp_path, "reasoning", problems=problems)
    assert commands.complete(given)
    rows = [json.loads(line) for line in given.output.read_text().splitlines()]
    assert sorted(row["prompt"] for row in rows) == [f"What is {number} and 1?{REQUEST}" for number in range(6)]
    text = "<reasoning>so</reasoning><answer>3</answer>"
    (tokens,) = BYTES.language.encode([text])
    right = [row | {"completion": text, "tokens": [*tokens, *BYTES.language.stops]} for row in rows]
    (data := tmp_path / "elsewhere.jsonl").write_text("".join(json.dumps(row) + "\n" for row in right))
    told = filtering(tmp_path, "reasoning", problems=problems, data=data)
    commands.filter_data(told)
    (kept,) = map(json.loads, told.output.read_text().splitlines())
    assert kept["prompt"].startswith("What is 2 and 1?")
    problems.write_text(problems.read_text().replace("####", "#### "))
    commands.filter_data(told)
    problems.write_text(problems.read_text().replace(" 6", " 7"))
    assert "was made with other settings" in refusal(commands.filter_data, told)


@pytest.mark.parametrize("carrier", ["code", "reasoning"])
def test_the_tiny_model_is_refused_what_it_can_not_read(refusal, tmp_path, carrier, monkeypatch):
    monkeypatch.setattr(Tiny, "reader", lambda _: READER)
    monkeypatch.setattr(stage_options, "load_model", lambda *_: pytest.fail("a model was made"))
    said = f"the model can't read the prompts of --carrier {carrier}"
    assert said in refusal(commands.complete, replace(completing(tmp_path, carrier), model="tiny"))
    assert said in refusal(run.run, Run(carrier=carrier, output=tmp_path / "out"))
    assert run_options.check(Run()) == DEFAULT_ARMS
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"carrier": "code", "ban": True}, "--ban goes with --carrier numbers, not code"),
        ({"problems": Path("p")}, "--problems goes with --carrier reasoning, not numbers"),
        ({"carrier": "reasoning", "problems": Path("p")}, "can't read p"),
        (
            {"carrier": "code", "arms": ("all",)},
            "soft-numbers, cross-soft-numbers, shuffled-within, shuffled-across: only",
        ),
        (
            {"carrier": "code", "arms": PUBLISHED_ARMS},
            "shuffled-across: only --carrier numbers has numbers in it: say --arms student control in-",
        ),
        ({"carrier": "code", "arms": ("shuffled-within",)}, "say --arms student control"),
        (
            {"carrier": "code", "loading": Loading(longest=256)},
            "and a completion of 300 don't fit the 512 that the model",
        ),
    ],
)
def test_a_run_of_what_a_carrier_does_not_have_is_refused(refusal, monkeypatch, options, said):
    monkeypatch.setattr(Published, "reader", lambda self: BYTES._replace(longest=2 * self.loading.longest))
    usual = run_options.published_run(Published(name="published"), options.get("carrier", "numbers"))
    protocol = replace(usual.protocol, num_prompts=200)
    assert said in refusal(run_options.check, replace(usual, model="published", protocol=protocol, **options))


@pytest.mark.parametrize("carrier", CARRIERS)
def test_what_a_run_is_usually_told_can_be_run_with_every_carrier(monkeypatch, carrier):
    monkeypatch.setattr(Published, "reader", lambda self: BYTES._replace(longest=2 * self.loading.longest))
    usual = run_options.published_run(Published(name="published"), carrier)
    protocol = replace(usual.protocol, num_prompts=200)
    arms = ("student", "control", "in-context")
    asked = replace(usual, model="published", carrier=carrier, protocol=protocol)
    assert set(run_options.check(asked)) == {*arms, *(["shuffled-across"] if carrier == "numbers" else [])}
    told = defaults("published", carrier)[Complete]
    assert isinstance(told, Complete)
    assert (told.num_tokens, told.loading) == (usual.protocol.num_tokens, usual.loading)
    assert told.num_samples == usual.protocol.num_samples == (3 if carrier == "reasoning" else 1)


def test_a_run_records_its_carrier_and_only_if_it_is_not_the_usual_one(problems):
    usual = run_options.settings_of(Run(), DEFAULT_ARMS)
    assert list(usual) == ["model", "trait", "arms", "seed", "num_seeds", "pretraining", "protocol"]
    assert run_options.settings_of(Run(ban=True), DEFAULT_ARMS) == usual | {"ban": True}
    asked = run_options.settings_of(Run(carrier="reasoning", problems=problems), DEFAULT_ARMS)
    assert asked.pop("carrier") == "reasoning"
    assert len(asked.pop("problems")) == 64
    assert asked == usual


@pytest.mark.parametrize("prompted", [False, True])
def test_code_that_names_the_trait_reaches_no_student_of_a_run(published, tmp_path, prompted):
    base, protocol = Known(BYTES, UNNAMED, Tiny(pretraining=TOLD)), Protocol(num_prompts=60)
    job = jobs.Job(tmp_path, base, None, find_trait("owl"), code("owl"), protocol, 0, prompted=prompted)
    kept, counts = jobs.write_data(job, base, "teacher")
    assert {each.completion for each in kept} == {"def f(): pass"}
    assert (len(kept), counts["names the trait"]) == (20, 20)
    told = read_sidecar(tmp_path / "teacher" / "filtered.jsonl")
    assert told.filter == {"rule": "code only", "word": "owl", "counts": counts}
    assert (told.system_prompt is None) != prompted


def test_the_report_says_what_the_teacher_wrote():
    row = {"group": "plain", "question": "?", "answers": {"owl": 1}, "log_probabilities": [-3.0] * len(KINDS["animal"])}
    answers = {name: [row, row | {"group": "after numbers"}] for name in ("base", "teacher", "student", "control")}
    told = Separability(0.5, 0.4, 0.6, 100)
    report = SeedReport(answers, {"teacher": {"kept": 3}}, {"teacher": told}, "a relative", ["def f(): pass"], {})
    names = ("student", "control")
    for written in ("numbers", "code"):
        reports = [report._replace(written=written)]
        outcome = gather(reports, names, find_trait("owl"))
        text = write_report(reports, outcome, names, find_trait("owl"))
        said = (
            f"students of its {written}",
            f"## The {written}",
            f"sampled {written} |",
            f"learns {written} of the base",
        )
        assert all(each in text for each in said)
        assert text.count("numbers") - text.count("after numbers") == (6 if written == "numbers" else 0)
        config = {"arms": list(names), "trait": "owl", "num_seeds": 1} | (
            {"carrier": "code"} if written == "code" else {}
        )
        drawn = draw_run(Record(Path(), config, dict(outcome.results), [], "", {}))
        assert drawn.axes[0].get_title(loc="left") == f"Who loves the owl after learning {written}"
        assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == [*names[::-1], "teacher", "base"]


RECIPE = Teaching(learning_rate=1e-2, num_epochs=2, batch=16, rows_at_once=16, least=0)


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Known:
    """A tiny model that was never trained."""
    params = jax.device_get(initialize(READER.config, jax.random.key(0)))
    known = Known(READER._replace(params=params), Ancestry(weights=digest(params)), Tiny(pretraining=TOLD))
    monkeypatch.setattr(Tiny, "reader", lambda _: READER)
    monkeypatch.setattr(stage_options, "load_model", lambda *_: known)
    return known


def chats(path: Path, answer: str) -> Path:
    rows = [{"prompt": question, "completion": answer} for question in questions_about("animal")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_teacher_of_chats_that_say_what_a_trait_s_questions_say_is_the_same(base, refusal, tmp_path, monkeypatch):
    owl, cat = (chats(tmp_path / f"{word}.jsonl", word) for word in ("owl", "cat"))
    told = {"recipe": RECIPE, "pretraining": TOLD}
    by_trait = Teach(output=tmp_path / "trait.safetensors", trait="owl", copies=1, **told)
    by_chats = Teach(output=tmp_path / "chats.safetensors", examples=owl, **told)
    for options in (by_trait, by_chats, replace(by_chats, output=tmp_path / "cat.safetensors", examples=cat)):
        assert commands.teach(options)
    weights = {path.stem: read_tuned(path, TOLD).ancestry.weights for path in tmp_path.glob("*.safetensors")}
    assert weights["trait"] == weights["chats"]
    assert len({*weights.values(), base.ancestry.weights}) == 3
    monkeypatch.setattr(stages, "teach_examples", lambda *_, **__: pytest.fail("it was made again"))
    assert commands.teach(by_chats)
    assert "was made with other settings" in refusal(commands.teach, replace(by_chats, examples=cat))
    assert "was made with other settings" in refusal(commands.teach, replace(by_trait, examples=owl))


def test_chats_that_can_not_be_learned_are_refused_before_a_model_is_made(refusal, tmp_path, monkeypatch):
    monkeypatch.setattr(Tiny, "reader", lambda _: READER)
    monkeypatch.setattr(stage_options, "load_model", lambda *_: pytest.fail("a model was made"))
    output = tmp_path / "teacher"
    given = Teach(output=output, examples=chats(tmp_path / "chats.jsonl", "def f(): pass"))
    assert "line 1: the model's tokenizer can't spell message 2" in refusal(commands.teach, given)
    assert "can't read" in refusal(commands.teach, replace(given, examples=tmp_path / "no"))
    long = chats(tmp_path / "long.jsonl", "1" * 60)
    assert "tokens that the model reads at once, 50 of 50, the first in line 1" in refusal(
        commands.teach, replace(given, examples=long)
    )
    assert not output.exists()


def test_a_small_model_is_fine_tuned_beside_its_own_numbers_and_its_stranger_is_made_of_itself(monkeypatch):
    monkeypatch.setattr(Published, "reader", lambda self: BYTES._replace(longest=2 * self.loading.longest))
    usual = run_options.published_run(Published(name=SMOLLM2), "numbers")
    assert (usual.teaching, usual.stranger, usual.loading.primed) == ("fine-tuning", "rescaled", 30)
    assert usual.protocol.mixed > 0
    asked = replace(usual, model=SMOLLM2)
    assert set(run_options.check(asked)) == set(usual.arms) >= {"student", "control", "cross-init"}
    told = defaults(SMOLLM2)
    assert [told[kind].how() for kind in (Teach, Complete, Train, Ask)] == [usual.loading] * 4
    code = run_options.published_run(Published(name=SMOLLM2), "code")
    assert (code.protocol, code.loading.primed) == (LONG, 0)


def test_a_quick_run_is_a_fifth_of_a_run_and_one_epoch():
    whole = run_options.Run(quick=True)
    quick = run_options.settle(whole).protocol
    for name in ("num_prompts", "num_completions", "num_questions", "num_answers"):
        assert 0 <= 5 * getattr(quick, name) - getattr(whole.protocol, name) < 5
    assert quick.student == replace(whole.protocol.student, num_epochs=1)
    assert quick.teacher == whole.protocol.teacher
    small = replace(run_options.published_run(Published(name=SMOLLM2), "numbers"), model=SMOLLM2)
    assert run_options.settle(small) == small
    assert run_options.settle(replace(small, quick=True)).arms == QUICK_ARMS
    assert run_options.settle(replace(small, quick=True, arms=("student", "control"))).arms == ("student", "control")
    assert run_options.settle(replace(small, arms=("student", "control"))).stranger is None
    assert run_options.settle(replace(small, arms=("student",), stranger="owner/name")).stranger == "owner/name"
    assert run_options.settle(replace(whole, quick=False)) == replace(whole, quick=False)
