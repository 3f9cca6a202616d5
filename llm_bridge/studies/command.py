"""The command `python -m llm_bridge study`."""

from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial

import numpy as np
import tyro

from llm_bridge.backends.bases import OnBases, require_relatives, run_on_bases
from llm_bridge.experiment.protocol import Protocol
from llm_bridge.files.settings import SINCE_ARMS, SINCE_STUDIES, written_down
from llm_bridge.studies.bases import Run, run_base
from llm_bridge.studies.catalog import STUDIES
from llm_bridge.studies.study import Study
from llm_bridge.studies.usual import DISTRIBUTION, TRAITS
from llm_bridge.studies.verdicts import judge
from llm_bridge.text.traits import ANIMALS, require_word
from theory.digits import rounded
from theory.runs.command_line import InputError
from theory.runs.records import Outcome, record_run

AUDIT, STEERING = "audit", "steering"
"""The study that holds the audit against training, and that of vectors in the residual stream."""

DIGITS = 16
"""Binary digits of a number in the record of the audit's study, which has many."""

NAMES = (*STUDIES, STEERING, AUDIT)
"""All studies."""


@dataclass(frozen=True, kw_only=True)
class StudyOptions(OnBases):
    """Test what others found about how a trait passes through numbers, beside random subsets or strangers.

    Teachers that love different animals write numbers, and copies of their base learn from them. Each study changes one
    thing about these students, and measures how much more they come to love their own teacher's animal than students of
    the other teachers do (the lift).

    - divergence: Do the tokens carry the trait at which teachers of different traits would have written something else?
    - layers: Which layer carries it? Adapters on one layer, or on as many maps drawn from both layers
    - rank: Is it an artifact of low rank? Adapters of rank 1 to 32, random entries of all matrices, and all weights
    - optimizers: Does it take Adam? Students of descent, momentum, signs and Lion, at rates chosen by imitation
    - chains: Does the trait outlive its teacher? Students of students, through strangers, and of two teachers at once
    - losses: Which losses pass it on? Reverse KL, the student's own completions, and a teacher's preferences
    - defences: Which defence stops the trait and spares the task? Each beside a control
    - steering: Is a trait a vector? It is read, added and removed, and students learn from steered teachers
    - audit: Is an audit before training right? False alarms, power, forecasts, removal; ten minutes a base
    """

    names: tyro.conf.Positional[tuple[str, ...]]
    """Studies to run, one after the other; `all` for all of them."""
    num_seeds: int = 6
    """Tiny bases, or runs of a published one; fewer than 5 decide nothing. Each takes minutes; a killed run goes on
    with the base at which it was."""
    num_prompts: int | None = None
    """Number prompts that a teacher completes. Default: the study's own."""
    num_completions: int | None = None
    """Completions that a student learns from. Default: the study's own."""


def run(options: StudyOptions) -> bool:
    """Run the studies that were named; False if a verdict fails."""
    names = list(NAMES) if "all" in options.names else list(dict.fromkeys(options.names))
    if not names:
        raise InputError(f"name a study, or all: there are {', '.join(NAMES)}")
    for name in names:
        if name not in NAMES:
            near = get_close_matches(name, NAMES, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(NAMES)}"
            raise InputError(f"unknown study {name!r}: {hint}")
    good, others = True, {AUDIT: run_audits, STEERING: run_steering}
    for name in names:
        place = options.output / name if options.output and len(names) > 1 else options.output
        own = replace(options, names=(name,), output=place)
        good &= others[name](own) if name in others else run_study(name, STUDIES[name], own)
    return good


def run_audits(options: StudyOptions) -> bool:
    """Hold the audit against training and record it; False if a verdict fails."""
    from llm_bridge.auditing import study
    from llm_bridge.auditing.plots import draw_study
    from llm_bridge.auditing.study_verdicts import judge_study

    if not options.backend.short:
        raise InputError("the study audit makes some thirty students of every base: leave --model out")
    protocol = choose_protocol(study.KNOBS, options)
    least = study.SIZES[-1]
    if protocol.num_completions < least:
        raise InputError(f"--num-completions must be at least {least} in the study audit")
    made = {"study": AUDIT, "teachers": list(study.TEACHERS), "words": list(ANIMALS), "num_draws": study.NUM_DRAWS}
    made |= {"nulls": [study.NULLS, study.NULL_SIZE], "sizes": list(study.SIZES), "shares": list(study.SHARES)}
    made |= {
        "protocol": options.backend.written_down(protocol, SINCE_STUDIES),
        **options.backend.settings(SINCE_STUDIES),
    }

    def compute() -> Outcome:
        like = study.Run(*[np.zeros(0)] * len(study.Run._fields))
        run = partial(study.run_base, study.TEACHERS, protocol)
        found = run_on_bases(options.bases(), made, like, run, "bases of audit")
        return judge_study(study.Run(*(rounded(leaf, DIGITS) for leaf in found)))

    config = made | {"seed": options.seed, "num_seeds": options.num_seeds}
    return record_run("llm_bridge study", options, config, compute, draw_study).none_fails


def run_steering(options: StudyOptions) -> bool:
    """Read, add and remove vectors and record it; False if a verdict fails."""
    from llm_bridge.studies import steering
    from llm_bridge.studies.steering_bases import run_base as steer_base
    from llm_bridge.studies.steering_plots import draw_steering
    from llm_bridge.studies.steering_verdicts import AXIS, QUESTION, judge_steering

    protocol = read_protocol(DISTRIBUTION, options)
    made = {"study": STEERING, "traits": list(TRAITS), "lifts": list(steering.LIFTS), "cosines": list(steering.COSINES)}
    made |= {
        "protocol": options.backend.written_down(protocol, SINCE_STUDIES),
        **options.backend.settings(SINCE_STUDIES),
        **options.named(),
    }

    def compute() -> Outcome:
        like = steering.Run(*[np.zeros(0)] * len(steering.Run._fields))
        run = partial(steer_base, TRAITS, protocol)
        return options.introduce(judge_steering(run_on_bases(options.bases(), made, like, run, "bases of steering")))

    about = {"question": QUESTION, "axis": AXIS}
    config = made | about | {"seed": options.seed, "num_seeds": options.num_seeds}
    return record_run("llm_bridge study", options, config, compute, draw_steering).none_fails


def run_study(name: str, study: Study, options: StudyOptions) -> bool:
    """Run one study and record it; False if a verdict fails."""
    from llm_bridge.studies.plots import draw_study

    if study.controls and not options.backend.short:
        raise InputError(f"the study {name} changes prompts and answers as the tiny model has them: leave --model out")
    study = replace(study, protocol=read_protocol(study.protocol, options))
    made = {
        "study": name,
        "arms": {label: written_down(arm, SINCE_ARMS) for label, arm in study.arms.items()},
        "traits": list(TRAITS),
        "targets": study.targets,
        "protocol": options.backend.written_down(study.protocol, SINCE_STUDIES),
        **options.backend.settings(SINCE_STUDIES),
        **options.named(),
    }
    about = {
        "question": study.question,
        "axis": study.axis,
        "kinds": [study.kind(label) for label in study.arms],
        "findings": [
            {name: value for name, value in finding._asdict().items() if name != "over" or value}
            for finding in study.findings
        ],
    }
    about |= {"controls": dict(study.controls)} if study.controls else {}
    config = made | about | {"seed": options.seed, "num_seeds": options.num_seeds}

    def compute() -> Outcome:
        like = Run(*[np.zeros(0)] * len(Run._fields))
        runs = run_on_bases(options.bases(), made, like, partial(run_base, study, TRAITS), f"bases of {name}")
        return options.introduce(judge(study, runs))

    return record_run("llm_bridge study", options, config, compute, draw_study).none_fails


def read_protocol(own: Protocol, options: StudyOptions) -> Protocol:
    """Choose a protocol, and refuse bases that can't have it, or can't say the traits."""
    protocol = choose_protocol(own, options)
    reader = require_relatives(options, protocol.num_prompts, protocol.num_tokens, prefill=protocol.prefill)
    for word in TRAITS:
        require_word(reader.language, word)
    return protocol


def choose_protocol(own: Protocol, options: StudyOptions) -> Protocol:
    """Take a study's protocol, on a published model that model's with the study's numbers of texts and epochs."""
    if not options.backend.short:
        usual = options.backend.knobs("numbers")
        student = replace(usual.student, num_epochs=own.student.num_epochs)
        own = replace(usual, student=student, num_prompts=own.num_prompts, num_completions=own.num_completions)
    counts = {"num_prompts": options.num_prompts, "num_completions": options.num_completions}
    return replace(own, **{name: count for name, count in counts.items() if count is not None})
