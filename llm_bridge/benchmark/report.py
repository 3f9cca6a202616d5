"""What the benchmark reports: speeds beside limits, whole stages extrapolated, ratios to another library."""

from typing import Any

import numpy as np

from llm_bridge.benchmark.measuring import Size
from llm_bridge.model.costs import Device, reading, sampling_step, training_operations
from llm_bridge.model.shapes import Config
from theory.runs.memory import gibibytes
from theory.runs.records import Outcome
from theory.runs.statistics import range_estimate
from theory.runs.verdicts import Verdict, markdown_table, verdict_table

NUM_COMPLETIONS, NUM_CHATS, NUM_EPOCHS = 30_000, 10_000, 3
"""What the published protocol samples from a teacher, and trains a student on, and how often."""

Results = dict[str, np.ndarray]
"""Numbers by name."""


def derive(config: Config, size: Size, dtype: Any, results: Results) -> Results:
    """Compute speeds, limits and times of whole stages from what was timed.

    A limit is the longer of what the measured peak needs to compute and the measured bandwidth to move: of reading, and
    of all steps that follow.
    """
    device = Device(*(float(results[f"device/{name}"]) for name in Device._fields))
    batches, steps = np.array(size.batches), size.completion - 1
    limit_reading = np.array([reading(config, dtype, batch, size.prompt).seconds(device) for batch in batches])
    step = np.array([sampling_step(config, dtype, batch, size.prompt + steps).seconds(device) for batch in batches])
    seconds, operations = results["sampling/seconds"], results["training/operations"]
    tokens = size.recipe.batch * size.row
    chunks = NUM_CHATS / (size.recipe.batch * results["training/chats"])
    shares = {"audit/utilization": results["audit/operations"] / results["audit/seconds"] / device.peak}
    if "pretraining/seconds" in results:
        needed = tokens * training_operations(config, size.row, "everything", float(results["training/learned"]))
        shares["pretraining/tokens a second"] = tokens / results["pretraining/seconds"]
        shares["pretraining/utilization"] = needed / results["pretraining/seconds"] / device.peak
    return shares | {
        "sampling/completions a second": batches / seconds,
        "sampling/tokens a second": batches * size.completion / seconds,
        "sampling/read tokens a second": batches * size.prompt / results["sampling/reading seconds"],
        "sampling/step seconds": (seconds - results["sampling/reading seconds"]) / steps,
        "sampling/limit of a step": step,
        "sampling/share of limit": (limit_reading + steps * step) / seconds,
        f"sampling/hours of {NUM_COMPLETIONS} completions": seconds * NUM_COMPLETIONS / batches / 3600,
        "training/tokens a second": tokens / results["training/seconds"],
        "training/utilization": operations * tokens / results["training/seconds"] / device.peak,
        "audit/texts a second": results["audit/texts"] / results["audit/seconds"],
        f"training/hours of {NUM_CHATS} chats": results["training/seconds"] * NUM_EPOCHS * chunks / 3600,
    }


def report(config: Config, size: Size, dtype: Any, results: Results) -> Outcome:
    """Lay out what was measured; speed is no claim, so all of it is reported."""
    operations = training_operations(config, size.row, learned=float(results["training/learned"]))
    results = results | {"training/operations": np.array(operations)}
    results |= derive(config, size, dtype, results)
    verdicts = judge(size.batches[-1], results)
    tables = [sampling_table(size, results), _training_table(results), verdict_table(verdicts)]
    return Outcome(results, verdicts, "\n".join(tables))


def judge(batch: int, results: Results) -> list[Verdict]:
    """Report speeds at the largest batch, and ratios to another library, with the range of all repetitions."""
    checks = {
        f"completions a second, {batch} at once": results["sampling/completions a second"][:, -1],
        f"sampling, share of the limit, {batch} at once": results["sampling/share of limit"][:, -1],
        "training, tokens a second": results["training/tokens a second"],
        "training, share of the peak (model operations)": results["training/utilization"],
        "audit, share of the peak (model operations)": results["audit/utilization"],
    }
    if "pretraining/seconds" in results:
        checks["pretraining, share of the peak (model operations)"] = results["pretraining/utilization"]
    for name in ("sampling", "training"):
        if (theirs := results.get(f"transformers/{name}/seconds")) is not None:
            ours = results[f"{name}/seconds"]
            at = f", {batch} at once" if name == "sampling" else ""
            last = [seconds[:, -1] if name == "sampling" else seconds for seconds in (theirs, ours)]
            checks[f"{name}, times as fast as transformers{at}"] = last[0] / last[1]
    ratio = results["comparison/measured"] / results["comparison/first order"]
    checks["a step's change of a trait over its first order"] = ratio
    if (theirs := results.get("transformers/training/loss")) is not None:
        checks["loss before training, ours − that of transformers"] = results["training/loss"] - theirs
    return [
        Verdict(claim="benchmark", check=check, predicted="no guarantee", measured=range_estimate(np.asarray(values)))
        for check, values in checks.items()
    ]


def size_or_none(value: Any) -> str:
    """Write a peak of memory in bytes; NaN where the device doesn't count them."""
    return "not counted here" if np.isnan(value) else gibibytes(float(value))


def sampling_table(size: Size, results: Results) -> str:
    """Lay out sampling: the medians of all repetitions."""
    theirs = results.get("transformers/sampling/seconds")
    header = ["at once", "completions/s", "tokens/s", "prompt tokens/s", "a step", "its limit", "share of limit"]
    header += [f"{NUM_COMPLETIONS:,} completions (extrapolated)", "memory so far"]
    header += [] if theirs is None else ["transformers, completions/s", "times as fast"]
    rows = []
    for place, batch in enumerate(size.batches):
        middle = {name: np.median(values[:, place]) for name, values in results.items() if np.ndim(values) == 2}
        row = [str(batch)]
        row += [f"{middle[f'sampling/{name}']:,.1f}" for name in ("completions a second", "tokens a second")]
        row += [f"{middle['sampling/read tokens a second']:,.0f}"]
        steps = (middle["sampling/step seconds"], results["sampling/limit of a step"][place])
        row += [f"{1e3 * seconds:.3g} ms" for seconds in steps] + [f"{middle['sampling/share of limit']:.0%}"]
        row += [f"{middle[f'sampling/hours of {NUM_COMPLETIONS} completions']:.3g} h"]
        row += [size_or_none(results["sampling/memory"][place])]
        if theirs is not None:
            ratios = theirs[:, place] / results["sampling/seconds"][:, place]
            row += [f"{np.median(batch / theirs[:, place]):,.1f}", f"{np.median(ratios):.2f}"]
        rows.append(row)
    return markdown_table(header, rows)


def _training_table(results: Results) -> str:
    rows = [
        ("matrix product (peak)", f"{float(results['device/peak']) / 1e12:.3g} TFLOP/s"),
        ("memory bandwidth", f"{float(results['device/bandwidth']) / 1e9:.3g} GB/s"),
        ("training", f"{np.median(results['training/tokens a second']):,.0f} tokens/s"),
        ("training, share of the peak", f"{np.median(results['training/utilization']):.0%}"),
        ("training, share of tokens learned", f"{float(results['training/learned']):.0%}"),
        ("memory so far", size_or_none(results["training/memory"])),
        (
            f"{NUM_CHATS:,} chats, {NUM_EPOCHS} epochs (extrapolated)",
            f"{np.median(results[f'training/hours of {NUM_CHATS} chats']):.3g} h",
        ),
        ("audit, texts of two traits", f"{np.median(results['audit/texts a second']):,.1f} texts/s"),
        ("audit, share of the peak", f"{np.median(results['audit/utilization']):.0%}"),
        ("a step of the comparison", f"{np.median(results['comparison/seconds']):.3g} s"),
    ]
    if "pretraining/seconds" in results:
        rows += [
            ("pretraining (all weights)", f"{np.median(results['pretraining/tokens a second']):,.0f} tokens/s"),
            ("pretraining, share of the peak", f"{np.median(results['pretraining/utilization']):.0%}"),
        ]
    if (theirs := results.get("transformers/training/seconds")) is not None:
        rows += [("training, times as fast as peft", f"{np.median(theirs / results['training/seconds']):.2f}")]
    return markdown_table(("what", "measured"), rows)
