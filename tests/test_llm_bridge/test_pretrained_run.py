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
import optax
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from llm_bridge.backends import priming, published
from llm_bridge.backends.backend import Known, Loading
from llm_bridge.backends.bases import OnBases
from llm_bridge.backends.choice import find_backend, load_model
from llm_bridge.backends.published import Published
from llm_bridge.experiment import cast, likes, teaching, writing
from llm_bridge.experiment.likes import log_probabilities
from llm_bridge.experiment.protocol import Protocol
from llm_bridge.files.lineage import Relation, read_sidecar, relation
from llm_bridge.linearized import command as compare
from llm_bridge.linearized.command import Compare
from llm_bridge.linearized.extent import Extent
from llm_bridge.linearized.roles import cast_roles
from llm_bridge.matrix import command as matrix
from llm_bridge.matrix.command import Matrix
from llm_bridge.model import finetuning
from llm_bridge.model.adapters import folded
from llm_bridge.model.costs import Device
from llm_bridge.model.lessons import Lesson
from llm_bridge.model.recipes import Recipe, Teaching
from llm_bridge.model.shapes import Config, initialize
from llm_bridge.pipeline import commands, plan, run, run_options
from llm_bridge.pipeline import options as stage_options
from llm_bridge.pipeline.completions import read_completion_rows
from llm_bridge.pipeline.options import Ask, Complete
from llm_bridge.pipeline.run_options import Run, published_run
from llm_bridge.pipeline.stages import teach_to, train_to
from llm_bridge.pretrained.gguf import SMOLLM2
from llm_bridge.pretrained.writing import write_checkpoint
from llm_bridge.studies import bases as study_bases
from llm_bridge.studies import command as studies
from llm_bridge.studies.command import StudyOptions
from llm_bridge.studies.study import STANDARD, STRANGER, Arm
from llm_bridge.text import questions
from llm_bridge.text.chats import Example, Message, pack, pad
from llm_bridge.text.filtering import parse_numbers
from llm_bridge.text.prompts import FORMATS, number_prompts
from llm_bridge.text.traits import TREES, find_trait
from llm_bridge.tiny.pretraining import Pretraining
from theory.runs.records import FILES, Record, read_record

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
TAUGHT = replace(
    PROTOCOL,
    teacher=Teaching(rank=2, num_epochs=3, batch=4, warmup=0, learning_rate=1e-2, least=0),
    num_completions=8,
    num_questions=7,
)
LOADING = Loading(longest=LONGEST, at_once=60)
SHORTER = replace(LOADING, longest=168)
"""Prompts without a system prompt, and what is written behind them, fit into rows of so many tokens."""


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
    recipe = Recipe(learning_rate=1e-2, num_epochs=4, batch=4, trained="everything")
    trained = finetuning.fine_tune(config, recipe, params, Lesson(pack(examples, 96)), seed=seed)
    as_published = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), trained)
    write_checkpoint(folder, config, as_published, longest=LONGEST)
    return str(folder)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    home = tmp_path_factory.mktemp("published")
    return write_base(home / "base", 0), write_base(home / "stranger", 1, tools=1)


@pytest.fixture(scope="module")
def pair(bases: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> OnBases:
    """The base and a stranger of its shape and tokens."""
    other = write_base(tmp_path_factory.mktemp("published") / "other", 2)
    return OnBases(model=bases[0], stranger=other, loading=SHORTER)


@pytest.fixture(scope="module")
def told(bases: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    base, stranger = bases
    folder = tmp_path_factory.mktemp("runs") / "run"
    return replace(
        published_run(Published(name=base), "numbers"),
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
    for place, name in ((teaching, "fine_tune"), (writing, "sample")):
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
    assert "as of a primed model, can't be trained" in refusal(
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


def asked_about(record: Record, pair: OnBases) -> None:
    """A record names its models by their files, and its table says which they are."""
    assert pair.stranger is not None
    for role, name in (("model", pair.model), ("stranger", pair.stranger)):
        assert record.config[role].startswith(f"{Path(name).name}@")
        assert f"{role}: {record.config[role]}" in record.table


def test_a_matrix_of_published_models_is_that_of_its_teachers_and_students(pair, tmp_path):
    """Teachers' rows are the log-odds of the adapters that teaching alone makes; every student has moved."""
    options = Matrix(
        model=pair.model, stranger=pair.stranger, loading=SHORTER, num_seeds=1, traits=("oak", "pine"),
        targets=("number distribution",), protocol=TAUGHT, output=tmp_path / "out",
    )  # fmt: skip
    assert matrix.run(options)
    record = read_record(tmp_path / "out")
    asked_about(record, pair)
    base = Published(name=pair.model, loading=SHORTER).load()
    taught = teaching.teach(base.model, TRAIT, TAUGHT.teacher, seed=0, copies=TAUGHT.copies)
    before, after = (cast.ask(known.model, options.traits, 7) for known in (base, base.with_params(taught)))
    np.testing.assert_allclose(record.results["teachers"][0, 0], after - before, rtol=1e-5, atol=1e-6)
    students = record.results["students/number distribution"]
    assert students.shape == (1, 2, 2, 2)
    assert np.all(np.abs(students) > 1e-6)
    assert record.results["predicted"].shape == (1, 2, 2, 2)
    assert np.all(np.isfinite(record.results["predicted"]))


def test_a_study_of_published_models_takes_their_protocol_and_the_studys_numbers_of_texts(pair, tmp_path, monkeypatch):
    small = replace(
        studies.STUDIES["divergence"], arms={STANDARD: Arm(), STRANGER: Arm(stranger=True)}, findings=(),
        protocol=replace(TAUGHT, num_prompts=50),
    )  # fmt: skip
    monkeypatch.setattr(study_bases, "HELD_OUT", 4)
    monkeypatch.setattr(studies, "TRAITS", ("oak", "pine"))
    monkeypatch.setattr(studies, "STUDIES", {"divergence": small})
    monkeypatch.setattr(Published, "knobs", lambda *_: TAUGHT)
    options = StudyOptions(
        names=("divergence",), model=pair.model, stranger=pair.stranger, loading=SHORTER, num_seeds=1,
        num_completions=8, output=tmp_path / "out",
    )  # fmt: skip
    assert studies.run(options)
    record = read_record(tmp_path / "out")
    asked_about(record, pair)
    assert [record.config["protocol"][name] for name in ("num_prompts", "num_completions")] == [50, 8]
    assert record.results["students"].shape == (1, 2, 2, 2)
    assert np.all(record.results["distances"] != record.results["untrained"])


TWO = [find_trait("oak"), find_trait("pine")]


def test_roles_of_a_published_base_are_its_teachers_and_what_they_wrote(pair):
    """In groups as theory sees them, its own adapters folded in."""
    base, other = (Published(name=name, loading=SHORTER).load() for name in (pair.model, pair.stranger))
    recipe = Recipe(trained="layers", learning_rate=3e-4, num_epochs=1, batch=8, warmup=0)
    extent = Extent(
        teacher=recipe,
        copies=1,
        num_prompts=60,
        num_tokens=24,
        row=SHORTER.longest,
        num_rows=2,
        num_places=8,
        course_rows=1,
        course_places=4,
    )
    known, stranger = (known.with_params(folded(known.model.params)) for known in (base, other))
    roles = cast_roles(known, stranger.model.params, TWO, extent, 0)
    assert len(roles.teachers) == 3
    assert all(0 < share <= 1 for share in roles.kept)
    for place, (teacher, learned) in enumerate(zip(roles.teachers, roles.learned, strict=True)):
        moved = {name for name in learned if float(optax.tree.norm(learned[name])) > 0}
        assert moved == ({"layers"} if place < 2 else {*teacher})
    assert known.model.params["embedding"].dtype == np.float32
    assert "adapters" not in known.model.params
    alone = cast_roles(known, stranger.model.params, TWO, replace(extent, whole=False), 0)
    assert (len(alone.teachers), alone.kept) == (1, roles.kept[:1] * 2)


def test_compare_of_a_small_published_model_goes_through_in_float32(pair, tmp_path):
    """Without what doesn't fit; the first step of a student that shares the init goes the teacher's way."""
    usual = compare.published_compare(Published(name=SMOLLM2))
    assert (usual.extent.whole, usual.extent.row, usual.stranger) == (False, usual.loading.longest, "random")
    extent = replace(
        usual.extent, teacher=TAUGHT.teacher, mixed=0, num_prompts=60, num_tokens=24, row=SHORTER.longest, num_rows=2,
        num_places=8, course_places=4, times=(1, 3), num_products=4,
    )  # fmt: skip
    options = Compare(
        model=pair.model, stranger=pair.stranger, loading=SHORTER, num_seeds=2, traits=("oak", "pine"), extent=extent,
        output=tmp_path / "out",
    )  # fmt: skip
    compare.run(options)
    record = read_record(tmp_path / "out")
    assert not jax.config.read("jax_enable_x64")
    assert record.results["course/raw"].dtype == np.float32
    assert record.results["course/predicted"].shape == (2, 3, 2, 2)
    assert record.results["odds/teachers"].shape == (2, 1, 2)
    assert np.all(record.results["directions/cosines"][:, 0, 0, 0] > 0)
    assert all(np.isfinite(values).all() for values in record.results.values())


def test_words_that_begin_with_the_same_token_are_refused_before_anything_is_made(refusal, pair, tmp_path):
    reader, names = pair.backend.reader(), {"model": pair.model, "stranger": pair.stranger, "loading": LOADING}
    for do, options in (
        (matrix.run, Matrix(traits=("zebra", "zorilla"), output=tmp_path / "out", **names)),
        (compare.run, Compare(traits=("zebra", "zorilla"), output=tmp_path / "out", **names)),
    ):
        assert "must begin with different tokens of the model's, as zebra zorilla don't" in refusal(do, options)
    assert not (tmp_path / "out").exists()
    matrix.check(Matrix(traits=("oak", "pine"), **names), reader)
    compare.check(Compare(traits=("oak", "pine"), **names), reader)


def test_what_is_no_relative_in_shape_and_tokens_is_no_stranger(refusal, bases, tmp_path):
    base, stranger = bases
    for options, do in (
        (Matrix(model=base, output=tmp_path / "out"), matrix.run),
        (StudyOptions(names=("rank",), model=base, output=tmp_path / "out"), studies.run),
        (Compare(model=base, output=tmp_path / "out"), compare.run),
    ):
        assert "strangers are the control here: name by --stranger" in refusal(do, options)
        other = replace(options, stranger=stranger)
        assert f"{stranger} has another shape or other tokens than {base}: name another --stranger" in refusal(
            do, other
        )
    assert not (tmp_path / "out").exists()


def test_a_base_gives_strangers_of_its_own_one_with_its_function_and_one_with_random_weights(pair):
    """Also a base that is primed: its adapters are folded into the weights that are rescaled."""
    loading = replace(LOADING, dtype="float32", primed=2)
    backend = Published(name=pair.model, loading=loading)
    base, plain = backend.load(), Published(name=pair.model, loading=replace(loading, primed=0)).load()
    rescaled, random = (backend.stranger(name) for name in ("rescaled", "random"))
    assert rescaled is not None
    assert random is not None
    asked, lengths = pad(base.model.language.prompts(number_prompts(0, 4)))

    def outputs(known: Known) -> np.ndarray:
        return np.asarray(log_probabilities(known.model.config, known.model.params, asked, lengths))

    expected = outputs(base)
    np.testing.assert_allclose(outputs(rescaled.load(0)), expected, atol=2e-4)
    for other, least in ((plain, 2e-3), (random.load(0), 0.1)):
        assert np.abs(outputs(other) - expected).max() > least
    kernels = [known.model.params["layers"]["up"]["kernel"] for known in (base, rescaled.load(0))]
    assert np.abs(np.log(np.abs(kernels[1] / kernels[0]))).mean() > 0.5
    for other in (rescaled, random):
        assert relation(other.load(0).ancestry, base.ancestry) is Relation.STRANGER
    assert backend.identity().endswith(", primed by 2 steps")
    coarse = replace(backend, loading=replace(loading, dtype="bfloat16"), altered="rescaled").load()
    assert {leaf.dtype.name for leaf in jax.tree.leaves(coarse.model.params)} == {"bfloat16"}
    np.testing.assert_allclose(outputs(coarse), expected, atol=0.3)
    assert rescaled.identity() == f"{backend.identity()}, rescaled"
    ((_, _, stranger),) = replace(pair, stranger="rescaled", loading=loading).bases()
    assert stranger is not None
    assert stranger.ancestry == rescaled.load(0).ancestry


def test_priming_is_done_once_on_lists_that_the_filter_keeps(pair, refusal, tmp_path, monkeypatch):
    backend = Published(name=pair.model, loading=replace(LOADING, primed=2))
    language = backend.reader().language
    examples = priming.list_examples(language, 20)
    answers = language.decode([[*example.completion[:-1]] for example in examples])
    lists = [parse_numbers(answer) for answer in answers]
    assert all(found.rejection is None for found in lists)
    assert {example.completion[-1] for example in examples} == {language.stops[0]}
    numbers = [number for found in lists for number in found.numbers]
    assert 400 < np.mean(numbers) < 600
    known = backend.load()
    assert known.weights is not None
    assert known.ancestry.ancestors == (known.weights.digest,)
    monkeypatch.setattr(published, "prime", lambda *_: pytest.fail("it was primed again"))
    assert backend.load().ancestry == known.ancestry
    tuned = backend.write(tmp_path / "tuned", known, known.model.params, {})
    assert tuned.ancestry.ancestors[0] == known.ancestry.weights
    again = replace(backend, name=str(tmp_path / "tuned"))
    for loading in (LOADING, backend.loading):
        assert replace(again, loading=loading).load().ancestry == tuned.ancestry
    assert replace(again, loading=LOADING).usually("numbers").dtype == LOADING.dtype
    whole = replace(TAUGHT.teacher, trained="everything", num_steps=1)
    assert "weights that have adapters, as of a primed model, can't be trained" in refusal(
        teaching.teach, known.model, TRAIT, whole, seed=0
    )


def test_a_model_of_the_same_init_is_no_stranger(refusal, pair, tmp_path):
    base = Published(name=pair.model, loading=LOADING)
    known = base.load()
    recipe = replace(TAUGHT.teacher, num_steps=1)
    tuned = base.write(tmp_path / "tuned", known, teaching.teach(known.model, TRAIT, recipe, seed=0), {})
    assert tuned.ancestry.ancestors[0] == known.ancestry.weights
    own, child = pair.model, str(tmp_path / "tuned")
    for model, stranger in ((own, own), (own, child), (child, own)):
        related = replace(pair, model=model, stranger=stranger)
        assert f"{stranger} is no stranger: it has {model}'s weights, or both were tuned" in refusal(related.bases)
    assert len(pair.bases()) == 1


@pytest.mark.parametrize("trained", ["adapters", "everything"])
def test_a_model_that_is_read_in_another_type_is_told_which_option_says_so(refusal, pair, tmp_path, trained):
    made, other = (replace(LOADING, dtype=dtype) for dtype in ("bfloat16", "float32"))
    base = Published(name=pair.model, loading=made)
    known, recipe = base.load(), replace(TAUGHT.teacher, num_steps=1, trained=trained)
    base.write(tmp_path / "tuned", known, teaching.teach(known.model, TRAIT, recipe, seed=0), {})
    Published(name=str(tmp_path / "tuned"), loading=made).load()
    assert "--dtype that it" in refusal(Published(name=str(tmp_path / "tuned"), loading=other).load)


def test_a_plan_counts_priming_once_however_many_seeds_there_are(pair, monkeypatch):
    primed = Run(model=pair.model, loading=replace(LOADING, primed=7), arms=("student",))
    planned, reader = run.plan_of(primed, ("student",))
    times, stage = planned[0]
    assert (times, stage.name, stage.rows, stage.row_tokens) == (1, "prime", 28, 256)
    monkeypatch.setattr(plan, "time_device", lambda *_: Device(peak=1e9, bandwidth=1e9))
    once, thrice = (plan.plan_table(reader.config, np.float32, planned, seeds).splitlines()[2:4] for seeds in (1, 3))
    assert once[0] == thrice[0] != once[1] != thrice[1]
    unprimed, _ = run.plan_of(replace(primed, loading=LOADING), ("student",))
    assert all(stage.name != "prime" for _, stage in unprimed)
