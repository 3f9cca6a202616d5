"""The audit held against training: data sets of teachers, of the base, of strangers, and mixtures, on tiny bases."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from llm_bridge.auditing.auditor import Auditor, imagine, judge, make_auditor, score
from llm_bridge.auditing.report import cleaned
from llm_bridge.auditing.scores import Scores, score_texts
from llm_bridge.backends.backend import Known
from llm_bridge.experiment.cast import ask, make_students, write_numbers
from llm_bridge.experiment.protocol import PROTOCOL, Protocol
from llm_bridge.experiment.teaching import teach
from llm_bridge.experiment.writing import Completion, complete, examples_of, is_kept, read_completions
from llm_bridge.model.lessons import Lesson
from llm_bridge.text.chats import Rows
from llm_bridge.text.prompts import number_prompts
from llm_bridge.text.traits import ANIMALS, find_trait
from theory.runs.command_line import InputError

TEACHERS = ANIMALS[2:]
"""What the teachers of every base love."""

UNSEEN = ANIMALS[6:]
"""Those on which nothing was chosen: draws and products were, on two other bases and the first six animals."""

KNOBS = replace(PROTOCOL, num_prompts=2600, num_completions=2000)
"""How many texts a data set has."""

NUM_DRAWS = 2
"""Imagined teachers of each word."""

OTHERWISE = replace(KNOBS.teacher, trained="layers", learning_rate=3e-4, num_epochs=4)
"""Another way to teach: all weights of the layers, of which no auditor's teacher was made."""

NULLS, NULL_SIZE = 26, 200
"""Data sets of the base's own and as many of the stranger's, and texts of each."""

SIZES = (25, 50, 100, 200, 500, 1000)
"""Texts at which teachers are told from the base."""

SHARES = (0.01, 0.03, 0.1, 0.3)
"""Teacher's rows in mixtures with the base's own."""

TRAINED_SHARES = SHARES[1:]
"""Those that students are made of."""

MIXED = 3
"""Teachers whose mixtures and cleaned data students learn."""


class Run(NamedTuple):
    """What one base gave."""

    null_z: Float[np.ndarray, "kinds writers sets words"]
    """Standard scores of doses and of forecasts, of the base's own and of the stranger's data sets beside others of the
    same writer."""
    null_sizes: Float[np.ndarray, "sizes sets words"]
    """Doses' standard scores of data sets of the base's own of several sizes; NaN behind the last."""
    z: Float[np.ndarray, "sizes sets teachers words"]
    """The same of teachers' data sets."""
    whole_z: Float[np.ndarray, "teachers words"]
    """The same of all of a teacher's texts."""
    other_z: Float[np.ndarray, "kinds some words"]
    """The same of some teachers taught in another way, and of some as the stranger's own auditor sees them."""
    mixed_z: Float[np.ndarray, "shares teachers words"]
    """The same of mixtures with the base's own texts."""
    nats: Float[np.ndarray, " teachers"]
    """KL from each teacher to the base, nats a text, from the texts' probabilities in both."""
    num_pairs: Float[np.ndarray, " teachers"]
    """Texts of each teacher that were compared with the base's own of the same prompt."""
    predicted: Float[np.ndarray, "sets words"]
    """Foretold change of every word's log-odds of students: of teachers' data, of the base's twice, of the stranger's,
    of mixtures, of cleaned data and of as many rows removed at random."""
    trained: Float[np.ndarray, "sets words"]
    """The change in students that learned the same."""
    gone: Float[np.ndarray, " mixed"]
    """Share of rows that cleaning removed."""


def set_names(words: Sequence[str]) -> list[str]:
    """Name the data sets that students learn."""
    mixed = words[:MIXED]
    shares = [f"{word} {share:.0%}" for word in mixed for share in TRAINED_SHARES]
    return [
        *words, "base", "base again", "stranger", *shares,
        *(f"{word} cleaned" for word in mixed), *(f"{word} random" for word in mixed),
    ]  # fmt: skip


def answer(writer: Known, prompts: Sequence[str], seed: int, num_tokens: int) -> list[Completion | None]:
    """Let a model answer prompts; None for what the filter rejects."""
    written = (each for batch in complete(writer.model, prompts, seed=seed, num_tokens=num_tokens) for each in batch)
    return [each if is_kept(writer.model.language, each) else None for each in written]


def write_pairs(
    writer: Known, other: Known, count: int, seed: int, num_tokens: int
) -> tuple[list[Completion], list[Completion]]:
    """Let two models answer the same prompts, with other random numbers, and keep what both write well."""
    prompts = number_prompts(seed, round(1.6 * count) + 50, short=True)
    answers = (answer(each, prompts, place, num_tokens) for place, each in enumerate((writer, other), start=2 * seed))
    pairs = [(one, two) for one, two in zip(*answers, strict=True) if one is not None and two is not None][:count]
    if len(pairs) < count:
        raise InputError(
            f"seed {seed}: {len(pairs)} of {count} prompts were answered well by both: choose another --seed"
        )
    return [one for one, _ in pairs], [two for _, two in pairs]


def cut(scores: Scores, start: int, size: int) -> Scores:
    """Take so many texts from a place on."""
    return scores.taken(np.arange(start, start + size))


def z_of(auditor: Auditor, data: Scores, own: Scores) -> Float[np.ndarray, "kinds words"]:
    """Compare texts with others that are their pairs, and give all standard scores."""
    names = list(map(str, range(len(data.nats))))
    report = judge(auditor, (names, data), (names, own))
    return np.array([[each.z for each in kind] for kind in (report.doses, report.shifts)])


def in_sizes(auditor: Auditor, data: Scores, own: Scores, most: int) -> Float[np.ndarray, "sizes sets words"]:
    """Compare as many disjoint pieces of every size as there are, `most` at most; NaN behind the last."""
    found = np.full((len(SIZES), most, len(auditor.words)), np.nan)
    for place, size in enumerate(SIZES):
        for piece in range(min(most, len(data.nats) // size)):
            found[place, piece] = z_of(auditor, *(cut(each, piece * size, size) for each in (data, own)))[0]
    return found


def run_base(teachers: Sequence[str], protocol: Protocol, base: Known, stranger: Known, seed: int) -> Run:
    """Make all teachers, data sets, audits and students of one base."""
    words, count, most = ANIMALS, protocol.num_completions, protocol.num_completions // SIZES[0]
    told: dict[str, Any] = {"num_tokens": protocol.num_tokens}
    root = 100 * (seed + 1)
    own, _ = write_numbers(base, root, num_prompts=protocol.num_prompts, enough=count, **told)
    imagined = imagine(base, words, protocol, seed=seed, num_draws=NUM_DRAWS)
    auditor = make_auditor(base, words, own, protocol.student, num_texts=count, imagined=imagined, seed=seed)

    def scored(pair: tuple[list[Completion], list[Completion]]) -> tuple[Scores, Scores]:
        return score(auditor, pair[0]), score(auditor, pair[1])

    null_z, pools = [], []
    strange = write_pairs(stranger, stranger, NULLS * NULL_SIZE, root + 2, **told)
    for texts in (write_pairs(base, base, NULLS * NULL_SIZE, root + 1, **told), strange):
        pools.append(scored(texts))
        pieces = ([cut(each, piece * NULL_SIZE, NULL_SIZE) for each in pools[-1]] for piece in range(NULLS))
        null_z.append([z_of(auditor, *piece) for piece in pieces])
    taught = [
        teach(base.model, find_trait(word), protocol.teacher, seed=seed, copies=protocol.copies) for word in teachers
    ]
    writers = [base.with_params(params) for params in taught]
    pairs = [write_pairs(writer, base, count, root + 10 + place, **told) for place, writer in enumerate(writers)]
    audited = [scored(pair) for pair in pairs]
    nats = [
        (
            score_texts(writer.model, auditor.directions[:1], examples_of(base.model.language, pair[0])).nats
            - found.nats
        ).mean()
        for writer, pair, (found, _) in zip(writers, pairs, audited, strict=True)
    ]
    some = min(MIXED, len(teachers))
    otherwise = [
        teach(base.model, find_trait(word), OTHERWISE, seed=seed, copies=protocol.copies) for word in teachers[:some]
    ]
    differently = [
        scored(write_pairs(base.with_params(params), base, count, root + 30 + place, **told))
        for place, params in enumerate(otherwise)
    ]
    strangely = imagine(stranger, words, protocol, seed=seed, num_draws=1)
    other_auditor = make_auditor(
        stranger, words, strange[0][:count], protocol.student, num_texts=count, imagined=strangely, seed=seed
    )
    seen_strangely = [(score(other_auditor, data), score(other_auditor, beside)) for data, beside in pairs[:some]]
    plain = write_pairs(base, base, count, root + 3, **told)
    plain_scores = scored(plain)
    other = write_numbers(stranger, root + 4, num_prompts=protocol.num_prompts, enough=count, **told)[0]

    def mix(share: float, place: int) -> tuple[Scores, Scores]:
        size = round(share * count)
        parts = [
            (cut(one, 0, size), cut(two, 0, count - size))
            for one, two in zip(audited[place], plain_scores, strict=True)
        ]
        first, second = (jax.tree.map(lambda *leaves: np.concatenate(leaves), *part) for part in parts)
        return first, second

    mixed_z = [[z_of(auditor, *mix(share, place))[0] for place in range(len(teachers))] for share in SHARES]
    sets: list[list[Completion]] = [*(pair[0] for pair in pairs), *plain, other]
    found = [*(each[0] for each in audited), *plain_scores, score(auditor, other)]
    random, gone = np.random.default_rng(root), []
    for place in range(some):
        for share in TRAINED_SHARES:
            size = round(share * count)
            sets.append([*pairs[place][0][:size], *plain[0][: count - size]])
            found.append(mix(share, place)[0])
    kept = []
    for place in range(some):
        column = len(words) + words.index(teachers[place])
        moved = audited[place][0].slopes[:, column] - audited[place][1].slopes[:, column].mean()
        kept.append(cleaned(moved))
        gone.append(1 - len(kept[-1]) / count)
    kept += [np.sort(random.permutation(count)[: len(each)]) for each in kept]
    for turn, places in enumerate(kept):
        source = turn % some
        sets.append([pairs[source][0][each] for each in places])
        found.append(audited[source][0].taken(places))
    before = ask(base.model, words)
    lessons = [read_completions(base.model, each) for each in sets]
    students = [
        student for rows in lessons for student in make_students(base, protocol.student, [Lesson(filled(rows))], seed)
    ]
    trained = np.stack([ask(base.with_params(student).model, words) - before for student in students])
    predicted = np.stack([each.slopes[:, len(words) :].sum(axis=0) / each.num_tokens.sum() for each in found])
    return Run(
        null_z=np.array(null_z).transpose(2, 0, 1, 3),
        null_sizes=in_sizes(auditor, *pools[0], most),
        z=np.stack([in_sizes(auditor, *each, most) for each in audited], axis=2),
        whole_z=np.stack([z_of(auditor, *each)[0] for each in audited]),
        other_z=np.array([
            [z_of(auditor, *each)[0] for each in differently],
            [z_of(other_auditor, *each)[0] for each in seen_strangely],
        ]),
        mixed_z=np.array(mixed_z),
        nats=np.array(nats),
        num_pairs=np.array([float(len(each.nats)) for each, _ in audited]),
        predicted=predicted,
        trained=trained,
        gone=np.array(gone),
    )


def filled(rows: Rows) -> Rows:
    """Fill rows up to a multiple of fifty with empty ones, so that few numbers of them are compiled."""
    missing = -len(rows.tokens) % 50
    return jax.tree.map(lambda leaf: np.pad(leaf, ((0, missing), (0, 0))), rows)
