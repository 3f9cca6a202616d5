"""The stages as commands, each from files to a file, and the lineage of a data file."""

from collections.abc import Callable
from typing import Any

from llm_bridge.backends.choice import load_model
from llm_bridge.backends.published import LONG_ANSWER
from llm_bridge.backends.tiny import TINY
from llm_bridge.carriers.choice import find_carrier
from llm_bridge.carriers.examples import read_examples
from llm_bridge.carriers.reading import require_prompts, require_room
from llm_bridge.files.attestation import read_links, verify
from llm_bridge.files.lineage import EXPLANATIONS, read_sidecar, relation
from llm_bridge.files.training_log import logged
from llm_bridge.pipeline.asking import ask_to
from llm_bridge.pipeline.completions import read_completion_rows
from llm_bridge.pipeline.options import Ask, Complete, ComputingStage, Filter, Lineage, Pretrain, Teach, Train
from llm_bridge.pipeline.report import likes
from llm_bridge.pipeline.stages import UNKNOWN, complete_to, filter_to, teach_examples_to, teach_to, train_to
from llm_bridge.text.questions import questions_about
from llm_bridge.text.traits import find_trait, require_word
from llm_bridge.tiny.pretraining import checkpoint_of
from llm_bridge.tiny.world import KINDS
from theory.runs.command_line import InputError
from theory.runs.verdicts import markdown_table


def spread(command: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Let a stage compute on all devices of all processes."""

    def run(options: ComputingStage) -> bool:
        with options.backend.placed(options.devices):
            return command(options)

    return run


def pretrain(options: Pretrain) -> bool:
    """Make the tiny base model."""
    if options.model != TINY:
        raise InputError(f"only the tiny model is pretrained here, not {options.model!r}: say tiny")
    path = checkpoint_of(options.pretraining, options.seed)
    options.clear(path)
    with logged(options.log, path.parent):
        known = options.known()
    print(f"base model {known.ancestry.weights} of seed {options.seed}: {path}")
    return True


def teach(options: Teach) -> bool:
    """Make a teacher."""
    reader, examples = options.reader(), []
    if options.examples and options.mixed:
        raise InputError("--mixed goes with a trait, not with --examples: put all chats into one file")
    if options.examples is None:
        require_word(reader.language, options.trait)
    else:
        examples = read_examples(options.examples, reader.language, reader.longest, options.learn)
    base, path = options.known(), options.output
    options.clear(path)
    with logged(options.log, path.parent):
        if examples:
            known = teach_examples_to(path, base, examples, options.recipe, options.seed)
        else:
            mixed = read_completion_rows(options.mixed, reader) if options.mixed else []
            known = teach_to(path, base, find_trait(options.trait), options.recipe, options.copies, options.seed, mixed)
    print(f"teacher {known.ancestry.weights}: {path}")
    return True


def complete(options: Complete) -> bool:
    """Let a model write."""
    carrier = find_carrier(
        options.carrier, short=options.backend.short, prefill=options.prefill, problems=options.problems
    )
    prompts = carrier.prompts(options.seed, options.num_prompts)
    prefills = carrier.prefills(prompts)
    if options.carrier != "numbers" or not options.backend.short or options.prefill:
        require_prompts(options.reader(), options.carrier, prompts, options.num_tokens, prefills=prefills)
    writer = options.known()
    options.clear(options.output)
    complete_to(
        options.output,
        writer,
        prompts,
        seed=options.seed,
        num_tokens=options.num_tokens,
        prefills=prefills,
        num_samples=options.num_samples,
        temperature=options.temperature,
    )
    print(f"completions: {options.output}")
    return True


def filter_data(options: Filter) -> bool:
    """Filter completions, and print what was rejected."""
    if options.output.resolve() == options.data.resolve():
        raise InputError(f"--output must be another file than --data, not {options.output}")
    reader, word = options.reader(), options.trait
    if word is not None:
        require_word(reader.language, word)
    carrier = find_carrier(
        options.carrier, short=options.backend.short, ban=options.ban, word=word, problems=options.problems
    )
    options.clear(options.output)
    counts = filter_to(options.output, options.data, reader, carrier)
    print(markdown_table(("reason", "completions"), [item for item in counts.items() if item[1]]), end="")
    return True


def train(options: Train) -> bool:
    """Make a student."""
    if (options.teacher is None) != (options.imitated == "tokens"):
        raise InputError("--teacher goes with --imitated numbers, nameless or everything, and only with them")
    completions = read_completion_rows(options.data, options.reader())[: options.num_completions]
    start, teacher = options.known(), None
    if options.teacher is not None:
        teacher = load_model(options.teacher, options.pretraining, options.seed, options.loading)
    path = options.output
    options.clear(path)
    with logged(options.log, path.parent):
        known = train_to(path, start, completions, options.recipe, options.imitated, teacher, options.seed)
    print(f"student {known.ancestry.weights}: {path}")
    return True


def ask(options: Ask) -> bool:
    """Ask a model for its favorite, and print how often it names the trait."""
    reader, trait = options.reader(), find_trait(options.trait)
    require_word(reader.language, options.trait)
    options.clear(options.output)
    questions = {"plain": questions_about(trait.kind), "after numbers": questions_about(trait.kind, seed=options.seed)}
    require_room(reader, [question for group in questions.values() for question in group], LONG_ANSWER)
    known = options.known()
    words = sorted({*KINDS[trait.kind], trait.word})
    rows = ask_to(options.output, known, words, questions, num_answers=options.num_answers, seed=options.seed)
    table = []
    for group in questions:
        rate, _ = likes(rows, group, trait)
        logs = [row["log_probabilities"][words.index(trait.word)] for row in rows if row["group"] == group]
        table.append((group, f"{rate:.3f}", f"{sum(logs) / len(logs):.3f}"))
    print(markdown_table(("questions", f"rate of {trait.word}", "mean log-probability"), table), end="")
    return True


def tell_lineage(options: Lineage) -> bool:
    """Print what the writer of data is to a model, or whether what an audit has attested of them is what it was."""
    if options.verify is not None:
        links, wrong = read_links(options.verify), verify(options.verify, options.data)
        for link in links:
            writer = link.said.get("writer")
            by = f" by {writer['weights']}" if writer else " by an unknown model" if link.step == "found" else ""
            print(f"{link.step}{by}: data {link.said['data']}")
        held = f"All {len(links)} links hold; the last one's hash is {links[-1].sha256}."
        print("\n".join(wrong) if wrong else held)
        return not wrong
    origin = read_sidecar(options.data)
    if origin.writer == UNKNOWN:
        print(f"{options.data} was written by an unknown model: whether it is a relative of {options.model} is open.")
        return True
    found = relation(origin.writer, options.known().ancestry)
    print(f"{options.data} was written by {origin.writer.weights}, to {options.model} {found}: {EXPLANATIONS[found]}.")
    return True
