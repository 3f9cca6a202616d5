"""The commands with one protocol, and the benchmark: each is run, judged and recorded."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from mlp_mnist.against import require_script
from mlp_mnist.arms import COMPARED_ARMS, DEMO_ARMS, Arm, Measured, Results
from mlp_mnist.benchmark import time_seeds
from mlp_mnist.data import load, load_others
from mlp_mnist.experiment import run_seeds
from mlp_mnist.knobs import MOVED_INIT, refuse
from mlp_mnist.linearization import measure_seeds
from mlp_mnist.options import Benchmark, CompareInits, Demo, ExperimentOptions, StudyOptions, SweepOptions, Theory
from mlp_mnist.pictures import draw_benchmark, draw_comparison, draw_demo
from mlp_mnist.protocol import PROTOCOLS, is_published
from mlp_mnist.sweeps import run_field_sweep, run_studies
from mlp_mnist.theory_pictures import draw_linearization
from mlp_mnist.theory_verdicts import judge_linearization
from mlp_mnist.verdicts import judge_comparison, judge_demo
from theory.runs.records import Outcome, Record, record_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def run_demo(options: Demo) -> bool:
    """Run the paper's six arms; the published figures stand beside them where the protocol is the published one."""

    def judge(results: Results, images: str) -> Outcome:
        return judge_demo(results, published=is_published(images, options.protocol(images)))

    return _run_arms("demo", options, DEMO_ARMS, judge, draw_demo)


def run_comparison(options: CompareInits) -> bool:
    """Run students of four inits."""
    refuse(options.knobs, MOVED_INIT, "what is compared are inits that compute the teacher's function, or another")
    return _run_arms(
        "compare-inits", options, COMPARED_ARMS, lambda results, _: judge_comparison(results), draw_comparison
    )


def _run_arms(
    command: str,
    options: ExperimentOptions,
    arms: Mapping[str, Arm],
    judge: Callable[[Results, str], Outcome],
    draw: "Callable[[Record], Figure]",
) -> bool:
    """Run students of one protocol; say whether no verdict fails."""
    source = options.source()
    protocol = options.protocol(source.name)
    config = {"data": source.name, "seed": options.seed, "num_seeds": options.num_seeds, "protocol": asdict(protocol)}

    def compute() -> Outcome:
        kinds, others = list(arms.values()), load_others(source, [protocol])
        measured = run_seeds([protocol], kinds, load(source), options.seed, options.num_seeds, others)
        return judge(Measured(*(each[0] for each in measured)).named(arms), source.name)

    return record_run(f"mlp_mnist {command}", options, config, compute, draw, data=source.reason).none_fails


def run_theory(options: Theory) -> bool:
    """Hold the linearized student's predictions against students; say whether no verdict fails."""
    refuse(options.knobs, MOVED_INIT, "what is predicted is a student whose whole init is the teacher's")
    refuse(options.knobs, ("num_auxiliary",), "--numbers says how many auxiliary logits there are")
    source = options.source()
    protocol = options.protocol(source.name)
    config = {
        "data": source.name,
        "seed": options.seed,
        "num_seeds": options.num_seeds,
        "numbers": options.numbers,
        "protocol": asdict(protocol),
    }

    def compute() -> Outcome:
        others = load_others(source, [protocol])
        measured = measure_seeds(protocol, options.numbers, load(source), options.seed, options.num_seeds, others)
        return judge_linearization(measured, options.numbers)

    return record_run("mlp_mnist theory", options, config, compute, draw_linearization, data=source.reason).none_fails


def run_benchmark(options: Benchmark) -> bool:
    """Time the six arms; say whether no verdict fails."""
    source = options.source()
    protocol = PROTOCOLS[source.name]
    if options.epochs is not None:
        protocol = replace(protocol, teacher_epochs=options.epochs, student_epochs=options.epochs)
    shown = {name: value for name, value in asdict(protocol).items() if name != "precision"}
    config = {"data": source.name, **options.config(), "protocol": shown}

    def compute() -> Outcome:
        if options.against is not None:
            require_script(options.against)
        return time_seeds(protocol, source, options)

    return record_run("mlp_mnist benchmark", options, config, compute, draw_benchmark, data=source.reason).none_fails


RUNS: dict[type, Callable[[Any], bool]] = {
    Demo: run_demo,
    CompareInits: run_comparison,
    StudyOptions: run_studies,
    SweepOptions: run_field_sweep,
    Theory: run_theory,
    Benchmark: run_benchmark,
}
"""What each command does; it says whether no verdict fails."""
