"""The audit held against training: data sets of teachers, of the base, of strangers, and mixtures, on tiny bases."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from llm_bridge.auditing.auditor import Auditor, imagine, judge, make_auditor, score
from llm_bridge.auditing.data_sets import DataSet, Pair, answer, in_both, mix, pieces
from llm_bridge.auditing.report import cleaned
from llm_bridge.auditing.scores import score_texts
from llm_bridge.auditing.slopes import filled
from llm_bridge.auditing.texts import Compared
from llm_bridge.backends.backend import Known
from llm_bridge.experiment.cast import ask, make_students
from llm_bridge.experiment.protocol import PROTOCOL, Protocol
from llm_bridge.experiment.teaching import teach
from llm_bridge.experiment.writing import Completion, examples_of, read_completions
from llm_bridge.model.lessons import Lesson
from llm_bridge.model.recipes import Recipe
from llm_bridge.text.prompts import number_prompts
from llm_bridge.text.traits import ANIMALS, find_trait

TEACHERS = ANIMALS[2:]
"""What the teachers of every base love."""

UNSEEN = ANIMALS[6:]
"""Those on which nothing was chosen: draws and products were, on two other bases and the first six animals."""

KNOBS = replace(PROTOCOL, num_prompts=2800, num_completions=2000)
"""How many prompts are answered for a data set, and how many texts it has."""

NUM_DRAWS = 2
"""Imagined teachers of each word."""

OTHERWISE = replace(KNOBS.teacher, trained="layers", learning_rate=3e-4, num_epochs=4)
"""Another way to teach: all weights of the layers, of which no auditor's teacher was made."""

NULLS, NULL_SIZE = 26, 150
"""Data sets of the base's own and as many of the stranger's, and texts of each."""

SIZES = (120, 200, 500, 1000)
"""Texts at which teachers are told from the base."""

SHARES = (0.01, 0.03, 0.1, 0.3)
"""Teacher's rows in mixtures with the base's own."""

TRAINED_SHARES = SHARES[2:]
"""Those that students are made of."""

MIXED = 3
"""Teachers whose mixtures and cleaned data students learn; they are taught otherwise and audited by a stranger, too."""


class Run(NamedTuple):
    """What one base gave."""

    null_z: Float[np.ndarray, "kinds writers sets words"]
    """Standard scores of doses and of forecasts, of the base's own and of the stranger's data sets beside others of the
    same writer."""
    null_sizes: Float[np.ndarray, "sizes sets words"]
    """Doses' standard scores of data sets of the base's own of several sizes; NaN behind the last."""
    z: Float[np.ndarray, "sizes sets teachers words"]
    """The same of teachers' data sets beside the base's own."""
    whole_z: Float[np.ndarray, "kinds teachers words"]
    """Of all of a teacher's texts, of doses and of forecasts."""
    other_z: Float[np.ndarray, "kinds some words"]
    """Doses' of some teachers taught in another way, and of some as the stranger's own auditor sees them."""
    mixed_z: Float[np.ndarray, "shares teachers words"]
    """The same of mixtures with the base's own texts."""
    nats: Float[np.ndarray, " teachers"]
    """Mean log-likelihood ratio of a teacher's texts in the teacher and in the base, in nats."""
    num_texts: Float[np.ndarray, " teachers"]
    """Texts of each teacher, that many of the base's own beside them: fewer where it writes too few lists."""
    predicted: Float[np.ndarray, "sets words"]
    """Foretold change of every word's log-odds of students, of the data sets of `set_names`."""
    trained: Float[np.ndarray, "sets words"]
    """The change in students that learned them."""
    gone: Float[np.ndarray, " mixed"]
    """Share of rows that cleaning removed."""


def set_names(words: Sequence[str]) -> list[str]:
    """Name the data sets that students learn.

    They are every teacher's, the base's twice, the stranger's, and of some teachers mixtures with the base's, what
    cleaning leaves, and as many rows at random.
    """
    mixed = words[:MIXED]
    return [
        *words, "base", "base again", "stranger",
        *(f"{word} {share:.0%}" for word in mixed for share in TRAINED_SHARES),
        *(f"{word} {kind}" for word in mixed for kind in ("cleaned", "random")),
    ]  # fmt: skip


def z_of(words: Sequence[str], pair: Pair) -> Float[np.ndarray, "kinds words"]:
    """Compare data with their pairs, and give all standard scores."""
    data, own = pair
    places = np.arange(len(data.texts))
    report = judge(words, data.scores, own.scores, Compared(places, places, paired=True))
    return np.array([[each.z for each in kind] for kind in (report.doses, report.shifts)])


def in_sizes(words: Sequence[str], pair: Pair, most: int) -> Float[np.ndarray, "sizes sets words"]:
    """Compare as many disjoint pieces of every size as there are; NaN behind the last."""
    found = np.full((len(SIZES), most, len(words)), np.nan)
    for place, size in enumerate(SIZES):
        for number, piece in enumerate(pieces(pair, size, most)):
            found[place, number] = z_of(words, piece)[0]
    return found


def run_base(teachers: Sequence[str], protocol: Protocol, base: Known, stranger: Known, seed: int) -> Run:
    """Make all teachers, data sets, audits and students of one base."""
    words, count, root = ANIMALS, protocol.num_completions, 100 * (seed + 1)
    some, most = teachers[:MIXED], count // SIZES[0]

    def prompts(number: int, times: float) -> list[str]:
        return number_prompts(root + number, round(times * protocol.num_prompts), short=True)

    def ask_twice(writer: Known, number: int) -> tuple[list[Completion], list[Completion]]:
        size = max(count, NULLS * NULL_SIZE)
        asked = prompts(number, size / count)
        one, two = (answer(writer, asked, root + number + turn, protocol.num_tokens) for turn in (0, 1))
        numbers = in_both(one, two, size, least=size)
        return [one[each] for each in numbers], [two[each] for each in numbers]

    def make(known: Known, own: list[Completion], num_draws: int) -> Auditor:
        traits = list(map(find_trait, words))
        imagined = imagine(known, traits, protocol, seed=seed, num_draws=num_draws)
        num_rows = len(read_completions(known.model, own).tokens)
        return make_auditor(known, traits, own, protocol.student, num_rows=num_rows, imagined=imagined, seed=seed)

    own_texts, strange_texts = ask_twice(base, 10), ask_twice(stranger, 20)
    auditor = make(base, own_texts[0][:count], NUM_DRAWS)

    def scored(auditor: Auditor, one: list[Completion], two: list[Completion]) -> Pair:
        return DataSet(one, score(auditor, one)), DataSet(two, score(auditor, two))

    own, strange = scored(auditor, *own_texts), scored(auditor, *strange_texts)
    null_z = [[z_of(words, piece) for piece in pieces(pair, NULL_SIZE, NULLS)] for pair in (own, strange)]

    asked = prompts(30, 1)
    answered = answer(base, asked, root + 30, protocol.num_tokens)
    beside = DataSet(list(answered.values()), score(auditor, list(answered.values())))
    place_of = {number: place for place, number in enumerate(answered)}

    def write(word: str, recipe: Recipe, number: int) -> tuple[Pair, float]:
        """Make a teacher, let it answer, and give data, their pairs, and the log-likelihood ratio."""
        params = teach(base.model, find_trait(word), recipe, seed=seed, copies=protocol.copies)
        teacher = base.with_params(params)
        written = answer(teacher, asked, root + number, protocol.num_tokens)
        numbers = in_both(written, answered, count, least=SIZES[0])
        texts = [written[each] for each in numbers]
        data = DataSet(texts, score(auditor, texts))
        examples = examples_of(base.model.language, texts)
        ratio = score_texts(teacher.model, auditor.directions[:1], examples).nats - data.scores.nats
        return (data, beside.taken([place_of[each] for each in numbers])), float(ratio.mean())

    found = [write(word, protocol.teacher, 40 + place) for place, word in enumerate(teachers)]
    pairs, nats = [pair for pair, _ in found], [ratio for _, ratio in found]
    otherwise = [write(word, OTHERWISE, 60 + place)[0] for place, word in enumerate(some)]
    other = make(stranger, strange_texts[0][:count], 1)
    strangely = [scored(other, data.texts, answers.texts) for data, answers in pairs[: len(some)]]

    sets = [*(data for data, _ in pairs), *(each.taken(range(count)) for each in (*own, strange[0]))]
    sets += [mix(pair, own, share)[0] for pair in pairs[: len(some)] for share in TRAINED_SHARES]
    random, gone = np.random.default_rng(root), []
    for word, (data, answers) in zip(some, pairs, strict=False):
        column = len(words) + words.index(word)
        kept = cleaned(data.scores.slopes[:, column] - answers.scores.slopes[:, column].mean())
        size = len(data.texts)
        gone.append(1 - len(kept) / size)
        sets += [data.taken(kept), data.taken(np.sort(random.permutation(size)[: len(kept)]))]
    before = ask(base.model, words)

    def train(texts: list[Completion]) -> Float[np.ndarray, " words"]:
        lesson = Lesson(filled(read_completions(base.model, texts), 50))  # few numbers of rows, as each is compiled
        (student,) = make_students(base, protocol.student, [lesson], seed)
        return ask(base.with_params(student).model, words) - before

    return Run(
        null_z=np.transpose(np.array(null_z), (2, 0, 1, 3)),
        null_sizes=in_sizes(words, own, most),
        z=np.stack([in_sizes(words, pair, most) for pair in pairs], axis=2),
        whole_z=np.stack([z_of(words, pair) for pair in pairs], axis=1),
        other_z=np.array([[z_of(words, pair)[0] for pair in group] for group in (otherwise, strangely)]),
        mixed_z=np.array([[z_of(words, mix(pair, own, share))[0] for pair in pairs] for share in SHARES]),
        nats=np.array(nats),
        num_texts=np.array([float(len(data.texts)) for data, _ in pairs]),
        predicted=np.stack([
            each.scores.slopes[:, len(words) :].sum(0) / each.scores.num_tokens.sum() for each in sets
        ]),
        trained=np.stack([train(each.texts) for each in sets]),
        gone=np.array(gone),
    )
