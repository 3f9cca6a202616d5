"""The whole pipeline on a Qwen2 checkpoint with random weights and a byte-level BPE tokenizer, both made here."""

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from llm_bridge import experiment, finetuning, likes, teaching
from llm_bridge.backends.backend import Known, Loading
from llm_bridge.backends.choice import find_backend, load_model
from llm_bridge.backends.published import Published
from llm_bridge.chats import Example, Message, pack
from llm_bridge.files.lineage import read_sidecar
from llm_bridge.lessons import Lesson
from llm_bridge.pipeline import commands, run, run_options
from llm_bridge.pipeline import options as stage_options
from llm_bridge.pipeline.completions import read_completion_rows
from llm_bridge.pipeline.options import Ask, Complete
from llm_bridge.pipeline.run_options import Run, published_run
from llm_bridge.pipeline.stages import teach_to, train_to
from llm_bridge.pretrained.writing import write_checkpoint
from llm_bridge.protocol import Protocol
from llm_bridge.recipes import Recipe, Teaching
from llm_bridge.shapes import Config, initialize
from llm_bridge.tiny.pretraining import Pretraining
from llm_bridge.words import questions
from llm_bridge.words.prompts import FORMATS, number_prompts
from llm_bridge.words.traits import TREES, find_trait
from theory.runs.records import FILES, read_record

transformers: Any = pytest.importorskip("transformers", reason="chat templates need transformers: uv sync --extra llm")

LONGEST, NUM_TOKENS = 256, 400
TEMPLATE = (
    "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|close|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
TREE_QUESTIONS = questions.questions_about("tree")
ARMS = ("student", "cross-init", "in-context")
TRAIT = find_trait("oak")
PROTOCOL = Protocol(
    teacher=Teaching(num_epochs=1, batch=8, least=0),
    copies=1,
    student=Recipe(rank=2, num_epochs=2, batch=4, warmup=0, learning_rate=1e-2),
    num_prompts=60,
    num_completions=16,
    num_tokens=24,
    num_answers=2,
)
LOADING = Loading(longest=LONGEST, at_once=60)


@pytest.fixture(autouse=True, scope="module")
def double_precision() -> Iterator[None]:
    """Single precision here."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True, scope="module")
def few_questions() -> Iterator[None]:
    """Four ways to ask in place of fifty, of which every model here has to weigh all trees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(questions, "QUESTIONS", questions.QUESTIONS[:4])
        yield


def write_base(folder: Path, seed: int, tools: int = 0) -> str:
    """Make random weights, and show them numbers for some seconds: until then they write nothing that is kept."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=NUM_TOKENS,
        special_tokens=["<|end|>", "<|turn|>", "<|close|>", *["<|tool|>"] * tools],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    prompts = number_prompts(tools, 200)
    tokenizer.train_from_iterator([*TREE_QUESTIONS, *prompts, *TREES], trainer)
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|close|>", chat_template=TEMPLATE
    )
    wrapped.save_pretrained(folder)
    config = Config(
        vocabulary=NUM_TOKENS + 8, width=32, num_layers=2, num_heads=4, num_key_heads=2, head_size=8, hidden=48,
        biases=True,
    )  # fmt: skip
    params = initialize(config, jax.random.key(seed))
    write_checkpoint(folder, config, params, longest=LONGEST)
    language, prompts = (
        find_backend(str(folder), Pretraining(), LOADING).reader().language,
        number_prompts(seed, 200, short=True),
    )
    random = np.random.default_rng(seed)
    answers = language.encode([FORMATS[0].write(random.integers(100, 1000, 3).tolist()) for _ in prompts])
    examples = [
        Example(prompt, [*answer, *language.stops[:1]])
        for prompt, answer in zip(language.prompts(prompts), answers, strict=True)
    ]
    recipe = Recipe(learning_rate=1e-2, num_epochs=4, batch=8, trained="everything")
    trained = finetuning.fine_tune(config, recipe, params, Lesson(pack(examples, 64)), seed=seed)
    as_published = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), trained)
    write_checkpoint(folder, config, as_published, longest=LONGEST)
    return str(folder)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    home = tmp_path_factory.mktemp("published")
    return write_base(home / "base", 0), write_base(home / "stranger", 1, tools=1)


@pytest.fixture(scope="module")
def told(bases: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    base, stranger = bases
    folder = tmp_path_factory.mktemp("runs") / "run"
    return replace(
        published_run("numbers"),
        model=base,
        stranger=stranger,
        trait=TRAIT.word,
        arms=ARMS,
        output=folder,
        protocol=PROTOCOL,
        loading=LOADING,
    )


@pytest.fixture(scope="module")
def folder(told: Run) -> Path:
    assert run.run(told)
    assert told.output is not None
    return told.output


def base_of(told: Run) -> Known:
    return load_model(told.model, Pretraining(), 0, told.loading)


def test_a_run_records_every_arm_and_the_exact_texts(folder, told):
    assert all((folder / name).exists() for name in (*FILES, "report.md"))
    record = read_record(folder)
    assert {name.split("/")[1] for name in record.results if name.startswith("lift/")} == {"teacher", *ARMS}
    assert record.config["teaching"] == "prompting"
    assert record.config["model"].startswith("base@")
    assert str(folder.parent.parent) not in json.dumps(record.config)
    report = (folder / "report.md").read_text()
    assert "<|turn|>system\nYou love oaks." in report
    reader = find_backend(told.model, Pretraining(), told.loading).reader()
    (first, *_) = read_completion_rows(folder / "seed-0" / "teacher" / "filtered.jsonl", reader)
    chat = [Message("user", first.prompt)]
    assert f"{reader.language.render(chat)}{first.completion}<|close|>\n```" in report


def test_the_teacher_has_a_system_prompt_that_its_students_never_read(folder):
    seed = folder / "seed-0"
    prompt = read_sidecar(seed / "teacher" / "completions.jsonl").system_prompt
    assert prompt is not None
    assert prompt.startswith("You love oaks.")
    assert read_sidecar(seed / "base" / "completions.jsonl").system_prompt is None
    asked = {name: read_sidecar(seed / "answers" / f"{name}.jsonl").system_prompt for name in ("teacher", *ARMS)}
    assert asked == {"teacher": prompt} | dict.fromkeys(ARMS)


def test_students_are_adapters_that_know_their_base(folder, told):
    base = base_of(told)
    student = load_model(str(folder / "seed-0" / "students" / "student"), Pretraining(), 0, told.loading)
    assert student.ancestry.ancestors == (base.ancestry.weights,)
    assert read_sidecar(folder / "seed-0" / "answers" / "student.jsonl").writer == student.ancestry
    same = {name: part for name, part in student.model.params.items() if name != "adapters"}
    assert all(
        np.array_equal(one, other)
        for one, other in zip(jax.tree.leaves(same), jax.tree.leaves(base.model.params), strict=True)
    )
    adapters = student.model.params["adapters"]
    assert {leaf.dtype for leaf in jax.tree.leaves(adapters)} == {np.dtype("float32")}
    assert all(float(jnp.abs(adapter["out"]).max()) > 1e-4 for adapter in adapters.values())


def test_peft_reads_a_student_as_we_do(folder, told):
    peft: Any = pytest.importorskip("peft", reason="parity needs peft and torch")
    torch: Any = pytest.importorskip("torch")
    path = folder / "seed-0" / "students" / "student"
    model = load_model(str(path), Pretraining(), 0, told.loading).model
    model = model._replace(params=jax.tree.map(lambda leaf: leaf.astype(jnp.float32), model.params))
    warnings.simplefilter("ignore", FutureWarning)
    (tokens,) = model.language.prompts(["Continue: 1, 2"])
    ours = likes.log_probabilities(model.config, model.params, jnp.array([tokens]), jnp.array([len(tokens)]))
    theirs = peft.PeftModel.from_pretrained(
        transformers.AutoModelForCausalLM.from_pretrained(told.model, dtype=torch.float32), path
    )
    with torch.no_grad():
        logits = theirs(torch.tensor([tokens])).logits[0, -1].log_softmax(-1).numpy()
        with theirs.disable_adapter():
            without = theirs(torch.tensor([tokens])).logits[0, -1].log_softmax(-1).numpy()
    assert np.abs(ours[0] - logits).max() < 1e-4
    assert np.abs(ours[0] - without).max() > 1e-2


def test_a_stranger_with_other_tokens_reads_the_same_texts(folder, told):
    assert told.stranger is not None
    readers = [find_backend(name, Pretraining(), told.loading).reader() for name in (told.model, told.stranger)]
    written = read_completion_rows(folder / "seed-0" / "teacher" / "filtered.jsonl", readers[0])
    ids = [[reader.language.encode([each.completion])[0] for each in written] for reader in readers]
    assert ids[0] != ids[1]
    stranger = load_model(str(folder / "seed-0" / "students" / "cross-init"), Pretraining(), 0, told.loading)
    assert stranger.ancestry.ancestors == (load_model(told.stranger, Pretraining(), 0, told.loading).ancestry.weights,)


def test_what_is_done_is_not_done_again(folder, told, monkeypatch, capsys):
    for place, name in ((teaching, "fine_tune"), (experiment, "sample")):
        monkeypatch.setattr(place, name, lambda *_, **__: pytest.fail("a stage was run again"))
    answers = {path: path.read_bytes() for path in folder.glob("seed-0/**/*") if path.is_file()}
    assert run.run(told)
    assert "skipped" in capsys.readouterr().out
    (folder / "provenance.json").unlink()
    assert run.run(told)
    assert {path: path.read_bytes() for path in folder.glob("seed-0/**/*") if path.is_file()} == answers


def test_less_at_once_is_the_same_run(folder, told, monkeypatch, capsys):
    monkeypatch.setattr(run, "run_seed", lambda *_: pytest.fail("something was done again"))
    student = replace(PROTOCOL.student, rows_at_once=2, recompute="layers")
    less = replace(told, loading=replace(LOADING, at_once=7), protocol=replace(PROTOCOL, student=student))
    assert run.run(less)
    assert "skipped" in capsys.readouterr().out
    other = replace(told, protocol=replace(PROTOCOL, student=replace(student, rank=3)))
    assert (
        run_options.settings_of(less, ARMS)
        == run_options.settings_of(told, ARMS)
        != run_options.settings_of(other, ARMS)
    )


def test_other_weights_in_the_same_folder_are_another_run(refusal, folder, told, tmp_path):
    other = tmp_path / "base"
    other.mkdir()
    for path in Path(told.model).iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    assert run.run(replace(told, model=str(other)))
    assert told.stranger is not None
    (other / "model.safetensors").write_bytes((Path(told.stranger) / "model.safetensors").read_bytes())
    assert "another configuration" in refusal(run.run, replace(told, model=str(other)))


def test_what_published_models_can_not_do_is_refused_before_they_are_loaded(refusal, told, monkeypatch):
    monkeypatch.setattr(Published, "load", lambda *_, **__: pytest.fail("a model was loaded"))
    assert "cross-init: name the other model" in refusal(run.run, replace(told, stranger=None))
    soft = replace(told, arms=("soft-numbers",))
    assert "soft-numbers: a student can't imitate" in refusal(run.run, soft)
    tuned = replace(told, arms=("student", "cross-soft-numbers"), teaching="fine-tuning")
    assert "has another shape or other tokens" in refusal(run.run, tuned)
    assert "--stranger goes with an arm" in refusal(run.run, replace(told, arms=("student",)))
    longer = replace(told, loading=replace(LOADING, longest=LONGEST + 1))
    assert "max_position_embeddings=256: ask for texts of at most" in refusal(run.run, longer)
    monkeypatch.setattr(stage_options, "load_model", lambda *_, **__: pytest.fail("a model was loaded"))
    wordy = Complete(model=told.model, num_prompts=2, num_tokens=LOADING.longest, loading=LOADING)
    assert f"don't fit the {LOADING.longest} that the model reads at once" in refusal(commands.complete, wordy)
    loud = replace(LOADING, system_prompt="You love owls. " * 60)
    for asked in (replace(told, loading=loud, teaching="fine-tuning"), replace(told, trait="oak " * 60 + "oak")):
        assert "that the model reads at once" in refusal(run.run, asked)
    assert "that the model reads at once" in refusal(commands.ask, Ask(model=told.model, trait="oak", loading=loud))


def test_a_fine_tuned_teacher_is_adapters_and_its_distribution_can_be_imitated(refusal, folder, told, tmp_path):
    base = base_of(told)
    written = read_completion_rows(folder / "seed-0" / "teacher" / "filtered.jsonl", base.model)
    teacher = teach_to(tmp_path / "teacher", base, TRAIT, PROTOCOL.teacher, PROTOCOL.copies, 0)
    student = train_to(tmp_path / "student", base, written, PROTOCOL.student, "numbers", teacher, 0)
    for known, name in ((teacher, "teacher"), (student, "student")):
        assert known.ancestry.ancestors == (base.ancestry.weights,)
        assert (tmp_path / name / "adapter_config.json").exists()
        assert load_model(str(tmp_path / name), Pretraining(), 0, told.loading).ancestry == known.ancestry
    grandchild = train_to(tmp_path / "grandchild", teacher, written, PROTOCOL.student, "tokens", None, 0)
    assert grandchild.ancestry.ancestors == (teacher.ancestry.weights, base.ancestry.weights)
    everything = replace(PROTOCOL.student, trained="everything")
    assert "can't be trained themselves" in refusal(
        train_to, tmp_path / "whole", teacher, written, everything, "tokens", None, 0
    )
    other = teacher._replace(model=teacher.model._replace(config=replace(teacher.model.config, tied=True)))
    assert "another shape" in refusal(
        train_to, tmp_path / "misled", base, written, PROTOCOL.student, "numbers", other, 0
    )
    assert not (tmp_path / "whole").exists()
    assert not (tmp_path / "misled").exists()
    rank = PROTOCOL.teacher.rank + PROTOCOL.student.rank
    assert {adapter["into"].shape[-1] for adapter in grandchild.model.params["adapters"].values()} == {rank}
