"""The command `python -m llm_bridge audit`."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

import llm_bridge
import theory
from llm_bridge.auditing.auditor import Report, imagine, judge, make_auditor, score
from llm_bridge.auditing.report import cleaned, tell, verdicts_of
from llm_bridge.auditing.scores import Scores
from llm_bridge.backends.backend import Backend, Known, Loading
from llm_bridge.backends.choice import find_backend
from llm_bridge.backends.tiny import TINY
from llm_bridge.experiment.protocol import PROTOCOL, Protocol
from llm_bridge.experiment.writing import Completion, Model, has_ended, is_kept
from llm_bridge.files.jsonl import write_rows
from llm_bridge.files.lineage import data_digest
from llm_bridge.files.plain import require_file
from llm_bridge.model.mesh import Devices
from llm_bridge.pipeline.completions import read_completion_rows
from llm_bridge.pipeline.stages import complete_to
from llm_bridge.store import key_of
from llm_bridge.text.traits import ANIMALS, TREES, find_trait, require_first_tokens
from llm_bridge.tiny.pretraining import Pretraining
from theory.problem import Params
from theory.runs.chunks import Keeper, source_hash
from theory.runs.command_line import InputError, RunOptions, require_count, require_seeds, require_writable
from theory.runs.files import DAMAGE, cache_folder, npz_bytes, write_whole
from theory.runs.progress import Progress
from theory.runs.records import Outcome, record_run, run_folder

LISTS = {"animals": ANIMALS, "trees": TREES}
"""Words that have a name together."""

OWN = 10**6
"""What is added to the seed of the model's own texts, so that no teacher's are drawn with the same random numbers."""

PART = 250
"""Texts whose scores are kept together, so that a killed audit goes on there."""


@dataclass(frozen=True, kw_only=True)
class Audit(RunOptions):
    """Say before any training whether a data set will move a trait of a model, by how much, and how sure that is.

    The writer isn't needed. The model answers the data's own prompts, and its answers say what chance does.
    """

    data: tyro.conf.Positional[Path]
    """The data: JSON lines as `complete` or `filter` write them, or a `prompt` or `question` and its `completion`,
    `response` or `answer`."""
    model: str = TINY
    """The model that is to learn them: `tiny`, the base of `--seed`; a folder, a GGUF file, `smollm2` or a repository
    of the hub; or what a stage wrote."""
    traits: Annotated[tuple[str, ...], tyro.conf.arg(aliases=("--trait",))] = ("animals",)
    """What may be loved: words of one kind, or `animals` or `trees` for all that the tiny world knows. More words tell
    better apart which it is."""
    scan: Path | None = None
    """A file with the words, one a line, in place of `--traits`."""
    against: Path | None = None
    """Other data to compare with, as of a writer that is known to be harmless, in place of the model's own answers."""
    num_draws: int = 2
    """Imagined teachers of each trait."""
    clean: Path | None = None
    """Where to write the data without the rows that push the first trait, until it is foretold not to move."""
    seed: int = 0
    """Seed of the tiny base, and root of all randomness."""

    protocol: Annotated[Protocol, tyro.conf.arg(name="")] = PROTOCOL
    """How imagined teachers are made, and the student whose training is foretold."""
    loading: Annotated[Loading, tyro.conf.arg(name="")] = field(default_factory=Loading)
    """How a published model is run."""
    devices: Annotated[Devices, tyro.conf.arg(name="")] = field(default_factory=Devices)
    """Over which devices it is spread."""
    pretraining: tyro.conf.Suppress[Pretraining] = field(default_factory=Pretraining)
    """How the tiny base is made."""

    def __post_init__(self) -> None:
        require_seeds(self.seed, 1)
        require_count("num_draws", self.num_draws)

    @property
    def backend(self) -> Backend:
        """The model's kind."""
        return find_backend(self.model, self.pretraining, self.loading)


def published_audit(backend: Backend) -> Audit:
    """Say how data are audited for a published model if nothing else is said: a trait takes minutes there."""
    protocol, loading = backend.knobs("numbers"), backend.usually("numbers")
    return Audit(data=tyro.MISSING, traits=("owl",), num_draws=1, protocol=protocol, loading=loading)


def words_of(options: Audit) -> tuple[str, ...]:
    """Say what is looked for."""
    named: Sequence[str] = options.traits
    if options.scan is not None:
        require_file(options.scan)
        named = [word for line in options.scan.read_text(encoding="utf-8").splitlines() if (word := line.strip())]
    words = tuple(word for name in named for word in LISTS.get(name, (name,)))
    if len(set(words)) < max(1, len(words)) or len({find_trait(word).kind for word in words}) > 1:
        raise InputError(f"--traits must be different words of one kind, not {' '.join(words) or 'none'}")
    return words


def read_data(path: Path, reader: Model) -> list[Completion]:
    """Read what is to be audited, and refuse what a student could not learn."""
    texts = read_completion_rows(path, reader)
    for number, each in enumerate(texts, start=1):
        if not each.tokens:
            raise InputError(f"{path}, line {number}: the completion is empty: leave the row out")
    return texts


def run(options: Audit) -> bool:
    """Run the command; it finds what it finds, and fails never."""
    from llm_bridge.auditing.plots import draw_audit

    backend = options.backend
    reader = backend.reader()
    words = words_of(options)
    require_first_tokens(reader.language, words)
    data = read_data(options.data, reader)
    against = None if options.against is None else read_data(options.against, reader)
    if options.clean is not None:
        require_writable(options.clean, folder=False, option="--clean")
    told = {"data": data_digest(options.data), "words": list(words), "num_draws": options.num_draws}
    if options.against is not None:
        told |= {"against": data_digest(options.against)}
    told |= {"model": backend.identity(), **backend.settings(), "protocol": backend.written_down(options.protocol)}
    config = told | {"seed": options.seed}

    def compute() -> Outcome:
        known = backend.load(options.seed)
        folder = run_folder({"command": "llm_bridge audit", **config}, options)
        own = write_answers(options, known, data, folder / "own.jsonl") if against is None else against
        report, found, own_found = audit(options, known, words, data, own, paired=against is None)
        rows = {
            "slopes": found.slopes, "nats": found.nats, "surprise": found.surprise, "num_tokens": found.num_tokens,
            "own_slopes": own_found.slopes, "own_nats": own_found.nats, "own_num_tokens": own_found.num_tokens,
            "moved": report.moved,
        }  # fmt: skip
        return Outcome(rows, verdicts_of(report), tell(report, data, known, options.data))

    with backend.placed(options.devices):
        record = record_run("llm_bridge audit", options, config, compute, draw_audit)
    if options.clean is not None and jax.process_index() == 0:
        kept = cleaned(record.results["moved"][:, 0])
        write_rows(options.clean, [data[place].row() for place in kept])
        print(f"{len(kept)} of {len(data)} rows without those that push {words[0]}: {options.clean}")
    return True


def audit(
    options: Audit,
    known: Known,
    words: Sequence[str],
    data: Sequence[Completion],
    own: Sequence[Completion],
    *,
    paired: bool,
) -> tuple[Report, Scores, Scores]:
    """Audit data beside other texts, and give all scores, too."""
    protocol = options.protocol
    imagined = imagine(
        known, words, protocol, seed=options.seed, num_draws=options.num_draws, keep=partial(in_cache, known, protocol)
    )
    count = len(data)
    auditor = make_auditor(known, words, own, protocol.student, num_texts=count, imagined=imagined, seed=options.seed)
    keeper = Keeper(json.dumps([known.ancestry.weights, list(words), source_hash(llm_bridge, theory)]))
    texts = [*data, *own]
    like, parts = Scores(*[np.zeros(0)] * len(Scores._fields)), []
    with Progress("score", len(texts), "texts", shown=jax.process_index() == 0) as bar:
        for start in range(0, len(texts), PART):
            some = texts[start : start + PART]
            before = bar.done
            parts.append(keeper.kept(start, like, partial(score, auditor, some, bar.advance)))
            bar.advance(before + len(some) - bar.done)
    scores = Scores(*(np.concatenate(leaves) for leaves in zip(*parts, strict=True)))
    found, own_found = scores.taken(np.arange(count)), scores.taken(np.arange(count, len(texts)))
    prompts = [[each.prompt for each in some] for some in (data, own)]
    return judge(auditor, (prompts[0], found), (prompts[1], own_found), paired=paired), found, own_found


def in_cache(known: Known, protocol: Protocol, word: str, draw: int, make: Callable[[], Params]) -> Params:
    """Take an imagined teacher from the cache, or make it and keep it there."""
    made: dict[str, Any] = {"base": known.ancestry.weights, "word": word, "draw": draw, "jax": jax.__version__}
    made |= {"teacher": known.backend.written_down(protocol.teacher), "mixed": protocol.mixed}
    made |= {"copies": protocol.copies, "prefill": protocol.prefill}
    path = cache_folder() / "llm_bridge" / f"imagined-{key_of(made)}.npz"
    names, sides = protocol.teacher.projections, ("into", "out")
    try:
        with np.load(path) as file:
            return {name: {side: file[f"{name}/{side}"] for side in sides} for name in names}
    except DAMAGE:
        adapters = jax.device_get(make())
    write_whole(path, npz_bytes({f"{name}/{side}": adapters[name][side] for name in names for side in sides}))
    return adapters


def write_answers(options: Audit, known: Known, data: Sequence[Completion], path: Path) -> list[Completion]:
    """Let the model answer the data's own prompts, and choose from its answers as the data were chosen."""
    prompts, prefills = [each.prompt for each in data], [each.prefill for each in data]
    num_tokens = max(options.protocol.num_tokens, *(len(each.tokens) for each in data))
    complete_to(
        path,
        known,
        prompts,
        seed=OWN + options.seed,
        num_tokens=num_tokens,
        prefills=prefills if any(prefills) else (),
        temperature=options.protocol.temperature,
    )
    written, language = read_completion_rows(path, known.model), known.model.language
    numbers = all(is_kept(language, each) for each in data)
    own = [each for each in written if (is_kept if numbers else has_ended)(language, each)]
    if not own:
        raise InputError("none of the model's own answers is like the data: name others to compare with by --against")
    return own
