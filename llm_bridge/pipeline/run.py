"""The command `python -m llm_bridge run`: all stages, from nothing to a report."""

import shutil
from functools import partial

from llm_bridge.experiment.writing import Model
from llm_bridge.files.training_log import logged
from llm_bridge.model.costs import weight_bytes
from llm_bridge.pipeline.jobs import Job, run_seed
from llm_bridge.pipeline.plan import memory_beside_weights, plan_of, plan_table
from llm_bridge.pipeline.report import gather, write_report
from llm_bridge.pipeline.run_options import Run, carrier_of, check, settings_of, settle
from llm_bridge.store import done_by_first
from llm_bridge.text.traits import find_trait
from theory.runs.files import write_whole
from theory.runs.memory import use_nearly_all
from theory.runs.records import Outcome, record_run, run_folder


def run(options: Run) -> bool:
    """Run the command, on all devices of all processes; False if a verdict fails."""
    options = settle(options)
    names = check(options)
    backend = options.backend
    if options.dry_run:
        use_nearly_all()
        planned, reader = plan_of(options, names)
        print(plan_table(reader.config, backend.dtype, planned, options.num_seeds), end="")
        return True

    def needed(reader: Model) -> int:
        planned, _ = plan_of(options, names)
        beside = memory_beside_weights(reader.config, backend.dtype, planned)
        if other := backend.stranger(options.stranger):
            beside += weight_bytes(other.reader().config, backend.dtype)
        return beside

    with backend.placed(options.devices, needed):
        return run_all(options, names)


def run_all(options: Run, names: tuple[str, ...]) -> bool:
    """Do all stages for all bases, and record what came out; False if a verdict fails."""
    from llm_bridge.pipeline.plots import draw_run

    config = settings_of(options, names)
    folder = run_folder({"command": "llm_bridge run", **config}, options)
    trait, carrier = find_trait(options.trait), carrier_of(options)

    def compute() -> Outcome:
        if options.fresh:
            done_by_first(lambda: [shutil.rmtree(left) for left in folder.glob("seed-*")])
        told, prompted = (trait, carrier, options.protocol), options.teaching == "prompting"
        jobs = [
            Job(folder / f"seed-{seed}", base, stranger, *told, seed, options.completions, prompted)
            for seed, base, stranger in options.bases()
        ]
        reports = [run_seed(job, names) for job in jobs]
        outcome = gather(reports, names, trait, matched=options.stranger == "rescaled")
        report = write_report(reports, outcome, names, trait).encode()
        done_by_first(partial(write_whole, folder / "report.md", report))
        return outcome

    with logged(options.log, folder):
        return record_run("llm_bridge run", options, config, compute, draw_run).none_fails
