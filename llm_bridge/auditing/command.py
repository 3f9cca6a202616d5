"""The command `python -m llm_bridge audit`."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from llm_bridge.auditing.auditor import Report, imagine, judge, make_auditor, suspect, whole
from llm_bridge.auditing.cost import cost_of
from llm_bridge.auditing.findings import NUM_NULLS, found_at
from llm_bridge.auditing.imagined import require_adapters
from llm_bridge.auditing.kept import in_cache, score_in_parts, write_answers
from llm_bridge.auditing.report import LEVEL, arrays_of, cleaned, report_of, tell, verdicts_of
from llm_bridge.auditing.scores import Scores
from llm_bridge.auditing.texts import Compared, choice_of, choose, read_data, require_texts
from llm_bridge.auditing.traits import (
    Answers,
    Probe,
    Prompts,
    Sought,
    is_file,
    name_of,
    read_trait,
    teachable,
    write_under,
)
from llm_bridge.backends.backend import Backend, Known, Loading
from llm_bridge.backends.choice import find_backend
from llm_bridge.backends.tiny import TINY
from llm_bridge.experiment.protocol import PROTOCOL, Protocol
from llm_bridge.experiment.writing import Completion, Model, read_completions
from llm_bridge.files.attestation import attest
from llm_bridge.files.lineage import data_digest, read_sidecar, sidecar_path, write_sidecar
from llm_bridge.files.plain import require_file
from llm_bridge.model.mesh import Devices
from llm_bridge.store import remove
from llm_bridge.text.chats import Message, same_tokens
from llm_bridge.text.traits import Trait, find_trait, require_first_tokens
from llm_bridge.tiny.pretraining import Pretraining
from llm_bridge.tiny.world import KINDS
from theory.runs.command_line import InputError, RunOptions, require_count, require_seeds, require_writable
from theory.runs.files import write_whole
from theory.runs.memory import fitting
from theory.runs.records import Outcome, Record, record_run, run_folder

UNDER = 1_800_000_000
"""Seed of what the model answers under system prompts."""

LISTS = {f"{kind}s": words for kind, words in KINDS.items()}
"""Words that have a name together."""


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
    traits: tuple[str, ...] = ("animals",)
    """What may be loved: words of one kind, or `animals` or `trees` for all that the tiny world knows; more words tell
    better apart which it is. Or files: FILE.jsonl with answers that show a trait, each a line with a `question` and its
    `answer`, and perhaps a `rejected` one; FILE.json with two system prompts, `system` and `instead`, and `questions`;
    FILE.npz with a probe's `layer`, `direction` and `questions`."""
    scan: Path | None = None
    """A file with the words, one a line, in place of `--traits`."""
    against: Path | None = None
    """Other data to compare with, as of a writer that is known to be harmless, in place of the model's own answers."""
    suspect: str | None = None
    """Who may have written the data, a model as of `--model` with its tokens: told is whether that rather than the
    model itself."""
    num_draws: int = 2
    """Imagined teachers of each trait."""
    clean: Path | None = None
    """Where to write the data without the rows that push the trait that is surest to be pushed, so many that it is no
    longer foretold to move; nothing is written if nothing is pushed."""
    seed: int = 0
    """Seed of the tiny base, and root of all randomness."""

    protocol: Annotated[Protocol, tyro.conf.arg(name="")] = PROTOCOL
    """How imagined teachers are made, and the student whose training is foretold."""
    loading: Annotated[Loading, tyro.conf.arg(name="")] = field(default_factory=Loading)
    """How a published model is run."""
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


def audit_of(model: str, data: Path, **options: Any) -> Record:
    """Audit data with a model's usual options but for those that are given, and record what is found."""
    backend = find_backend(model)
    usual = Audit(data=data) if backend.short else published_audit(backend)
    return record_audit(replace(usual, model=model, data=data, **options))


def words_of(options: Audit) -> tuple[str, ...]:
    """Say what is looked for."""
    named: Sequence[str] = options.traits
    if options.scan is not None:
        require_file(options.scan)
        try:
            lines = options.scan.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            raise InputError(f"can't read {options.scan} ({error}): it must hold words, one a line") from error
        named = [word for line in lines if (word := line.strip())]
    words = tuple(word for name in named for word in LISTS.get(name, (name,)))
    kinds = {find_trait(word).kind for word in words if not is_file(word)}
    if len({Path(word).name if is_file(word) else word for word in words}) < max(1, len(words)) or len(kinds) > 1:
        named = " ".join(words) or "none"
        raise InputError(f"--traits must be different words of one kind or files of different names, not {named}")
    return words


def traits_of(options: Audit, reader: Model) -> list[Sought]:
    """Say what is looked for, what can be taught first; what the model can't say or a file doesn't hold is refused."""
    named = words_of(options)
    words = [name for name in named if not is_file(name)]
    require_first_tokens(reader.language, words)
    files = [read_trait(Path(name), reader) for name in named if is_file(name)]
    return [*map(find_trait, words), *sorted(files, key=lambda trait: isinstance(trait, Probe))]


def run(options: Audit) -> bool:
    """Run the command; it finds what it finds, and never fails."""
    record_audit(options)
    return True


def record_audit(options: Audit) -> Record:
    """Audit data, record what is found, and write what is left of the data if that is asked for."""
    from llm_bridge.auditing.plots import draw_audit

    require_file(options.data)
    backend = options.backend
    reader = backend.reader()
    traits = traits_of(options, reader)
    words = list(map(name_of, traits))
    require_adapters(options.protocol.teacher, options.protocol.student)
    data = read_data(options.data, reader)
    require_texts(len(data), len(words))
    against = None if options.against is None else read_data(options.against, reader)
    if options.clean is not None:
        require_writable(options.clean, folder=False, option="--clean")
        if options.clean.resolve() in {options.data.resolve(), options.against and options.against.resolve()}:
            raise InputError(f"--clean must be another file than the data and --against, not {options.clean}")
    choice = choice_of(options.data, data, reader)
    chat = reader.language.render([Message("user", "?")])
    config: dict[str, Any] = {"data": data_digest(options.data), "words": words, "num_draws": options.num_draws}
    config |= {"num_nulls": NUM_NULLS}
    if files := {Path(name).name: data_digest(Path(name)) for name in words_of(options) if is_file(name)}:
        config |= {"files": files}
    if options.against is not None:
        config |= {"against": data_digest(options.against)}
    other = None if options.suspect is None else find_backend(options.suspect, options.pretraining, options.loading)
    if other is not None:
        if not same_tokens(other.reader().language, reader.language):
            raise InputError(f"{options.suspect} has other tokens than {options.model}: name another --suspect")
        config |= {"suspect": other.identity()}
    config |= {"choice": choice._asdict(), "model": backend.identity(), "chat": chat, **backend.settings()}
    config |= {"protocol": backend.written_down(options.protocol), "seed": options.seed}

    computed: list[str] = []

    def compute() -> Outcome:
        computed.append("now")
        known = backend.load(options.seed)
        own = against
        if own is None:
            folder = run_folder({"command": "llm_bridge audit", **config}, options)
            seed, protocol = options.seed, options.protocol
            own = write_answers(folder / "own.jsonl", known, data, choice, protocol, seed, fresh=options.fresh)
        compared = choose(known.model, choice, data, own, paired=against is None)
        told = [
            write_under(whole(known), trait, (UNDER + options.seed) % 2**32) if isinstance(trait, Prompts) else trait
            for trait in traits
        ]
        report, found = audit(options, known, told, data, own, compared)
        if other is not None:
            suspected = whole(other.load(options.seed))
            report = report._replace(suspected=suspect(whole(known), suspected, data, own, compared))
        arrays = arrays_of(report) | {f"texts/{name}": values for name, values in found._asdict().items()}
        arrays |= {"base": np.array(known.ancestry.weights)}
        beside, asked = [own[place] for place in compared.own], [] if against else own
        counted = {"num_draws": options.num_draws, "asked": asked}
        cost = cost_of(known.model, told, data, beside, options.protocol, **counted)
        return Outcome(arrays, verdicts_of(report), tell(report, data, options.data, choice, cost))

    with backend.placed(Devices()), fitting("the audit", "turn --student.rows-at-once down"):
        record = record_run("llm_bridge audit", options, config, compute, draw_audit)
    attest(record.folder, options.data, record.config["data"], said_of(record), fresh=bool(computed))
    if options.clean is not None:
        write_cleaned(options.clean, options.data, record)
    return record


def said_of(record: Record) -> dict[str, Any]:
    """Say for an attestation what an audit was of and what it found."""
    report = report_of(record)
    found = {"doses": report.doses, "shifts": report.shifts}
    return {
        "model": record.config["model"],
        "weights": str(record.results["base"]),
        "traits": list(report.words),
        **{name: [each._asdict() for each in kind] for name, kind in found.items()},
        "commit": record.provenance["commit"],
    }


def audit(
    options: Audit,
    known: Known,
    traits: Sequence[Trait | Answers | Probe],
    data: Sequence[Completion],
    own: Sequence[Completion],
    compared: Compared,
) -> tuple[Report, Scores]:
    """Audit data beside other texts, and give their scores, too."""
    require_texts(min(len(compared.data), len(compared.own)), len(traits))
    protocol, count = options.protocol, len(data)
    keep = partial(in_cache, known, protocol)
    told: dict[str, Any] = {"seed": options.seed, "num_draws": options.num_draws, "keep": keep}
    imagined = imagine(known, teachable(traits), protocol, **told)
    beside = [own[place] for place in compared.own]
    num_rows = len(read_completions(known.model, data).tokens)
    auditor = make_auditor(
        known, traits, beside, protocol.student, num_rows=num_rows, imagined=imagined, seed=options.seed
    )
    found = score_in_parts(auditor, known, [*data, *beside])
    if not all(np.isfinite(leaf).all() for leaf in found):
        raise InputError("the model gives some of the texts no finite probability: leave them out")
    scored, others = found.taken(np.arange(count)), found.taken(np.arange(count, count + len(beside)))
    names = list(map(name_of, traits))
    return judge(names, scored, others, compared._replace(own=np.arange(len(beside)))), scored


def write_cleaned(path: Path, source: Path, record: Record) -> None:
    """Write the lines of data that stay once those are gone that push what is surest to be pushed, if anything is."""
    report = report_of(record)
    for word, _ in found_at(report.words, report.shifts, LEVEL)[:1]:
        kept = cleaned(report.moved[:, report.words.index(word)])
        lines = source.read_bytes().rstrip().split(b"\n")
        write_whole(path, b"".join(lines[place] + b"\n" for place in kept))
        remove(sidecar_path(path))
        if sidecar_path(source).exists():
            before = read_sidecar(source)
            rules = (before.filter or {}) | {"audit": {"without rows that push": word, "kept": len(kept)}}
            write_sidecar(path, replace(before, filter=rules, parents=(before.data,), data=data_digest(path)))
        print(
            f"{path}: {len(kept)} of {len(lines)} rows, without those that push {word} most. That they are foretold to "
            "move nothing is so by their choice, and no finding; what their writer loves stays to be seen in them."
        )
        return
    print(f"{path} is not written: nothing is foretold to be pushed, so that no row is to be left out")
