"""The same in PyTorch, as a yardstick: transformers' generate() and a step of peft, with the same weights and rows."""

import gc
import importlib
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from llm_bridge.benchmark.device import time_runs
from llm_bridge.benchmark.measuring import Size, draw_prompts, draw_rows
from llm_bridge.model.shapes import Config
from llm_bridge.pretrained.families import describe
from llm_bridge.pretrained.names import MODULES
from llm_bridge.pretrained.writing import parts_of
from theory.problem import Params
from theory.runs.command_line import InputError
from theory.runs.memory import fitting

NEEDED = ("torch", "transformers", "peft")
"""What has to be installed."""


def require_torch() -> None:
    """Refuse the yardstick where a module is missing, or torch doesn't see the accelerator."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise InputError(f"--against transformers needs {', '.join(missing)}: install it, or leave --against out")
    if jax.default_backend() != "cpu" and not importlib.import_module("torch").cuda.is_available():
        raise InputError("torch sees no accelerator: install torch for it, or leave --against out")


def make_room() -> str:
    """Let go of an accelerator's memory, which XLA keeps, and name the device as torch does.

    No array of ours may be used any more.
    """
    if jax.default_backend() == "cpu":
        return "cpu"
    gc.collect()
    jax.clear_caches()
    importlib.import_module("jax.extend.backend").clear_backends()
    return "cuda"


def to_torch(array: np.ndarray) -> Any:
    """Make a tensor of an array; NumPy's bfloat16 is not torch's."""
    torch: Any = importlib.import_module("torch")
    array = np.array(array)
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def build(config: Config, params: Params, longest: int, device: str) -> Any:
    """Build transformers' model of a shape on a device, with given weights on the host."""
    torch: Any = importlib.import_module("torch")
    transformers: Any = importlib.import_module("transformers")
    dtype = params["embedding"].dtype.name
    described = transformers.AutoConfig.for_model(
        **describe(config, longest, dtype), bos_token_id=None, eos_token_id=None
    )
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(described, dtype=getattr(torch, dtype)).eval()
    own = model.state_dict()
    for name, part in parts_of(config, params).items():
        own[name].copy_(to_torch(part.read()))
    return model


def _time_torch(run: Callable[[], Any], device: str, repetitions: int) -> Float[np.ndarray, " repetitions"]:
    """Time a computation, in seconds, after it was done once."""
    torch: Any = importlib.import_module("torch")
    return time_runs(run, repetitions, lambda _: torch.cuda.synchronize() if device == "cuda" else None)


def time_generate(
    model: Any, config: Config, size: Size, device: str, repetitions: int
) -> Float[np.ndarray, "repetitions batches"]:
    """Time generate(), in seconds, at every batch size; no completion stops early."""
    torch: Any = importlib.import_module("torch")
    every = []
    for batch in size.batches:
        prompts = torch.from_numpy(draw_prompts(config, size, batch)).long().to(device)
        settings = {"max_new_tokens": size.completion, "min_new_tokens": size.completion, "pad_token_id": 0}
        settings |= {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}

        def generate(prompts: Any = prompts, settings: Any = settings) -> None:
            found = model.generate(prompts, attention_mask=torch.ones_like(prompts), **settings)
            assert found.shape[1] == size.prompt + size.completion

        with fitting(f"generating {batch} completions at once in torch", "take smaller --batch-sizes"):
            every.append(_time_torch(generate, device, repetitions))
    return np.stack(every, axis=1)


def time_peft(
    model: Any, config: Config, size: Size, device: str, repetitions: int
) -> tuple[Float[np.ndarray, " repetitions"], float]:
    """Time a step of training low-rank adapters with peft, on the same packed rows in as many passes.

    Seconds, and the loss before the first step.
    """
    torch: Any = importlib.import_module("torch")
    peft: Any = importlib.import_module("peft")
    recipe, rows = size.recipe, draw_rows(config, size)
    modules = [MODULES[name].rpartition(".")[2] for name in recipe.projections]
    settings = peft.LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules=modules, task_type="CAUSAL_LM")
    with warnings.catch_warnings(category=FutureWarning, action="ignore"):
        model = peft.get_peft_model(model, settings).train()
    if recipe.recompute == "layers":
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable()
    trained = [leaf for leaf in model.parameters() if leaf.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    before = np.tril(np.ones((size.row, size.row), bool))
    seen = (rows.texts[:, :, None] == rows.texts[:, None, :]) & before
    labels = np.where(np.roll(rows.learned, 1, axis=1), rows.tokens, -100)
    tensors = [torch.from_numpy(array).to(device) for array in (rows.tokens, rows.positions, seen[:, None], labels)]
    passes = list(zip(*(tensor.split(recipe.rows_at_once) for tensor in tensors), strict=True))
    losses, count = [], int(rows.learned.sum())

    def step() -> None:
        total = 0.0
        for tokens, positions, mask, labels in passes:
            output = model(
                input_ids=tokens.long(), position_ids=positions.long(), attention_mask=mask, use_cache=False,
                labels=labels.long(), num_items_in_batch=count,
            )  # fmt: skip
            output.loss.backward()
            total += output.loss.detach()
        torch.nn.utils.clip_grad_norm_(trained, recipe.clip)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(total))

    with fitting(f"a step of {recipe.rows_at_once} rows at once in torch", "take fewer --rows-at-once"):
        return _time_torch(step, device, repetitions), losses[0]


def time_transformers(config: Config, params: Params, size: Size, repetitions: int) -> dict[str, np.ndarray]:
    """Time sampling and training in PyTorch; nothing of ours is left on an accelerator.

    Seconds are as of `time_sampling` and `time_training`, beside the loss before the first step.
    """
    device = make_room()
    with fitting("the model in torch", "take a smaller --config"):
        model = build(config, params, max(size.row, size.prompt + size.completion), device)
    sampling = time_generate(model, config, size, device, repetitions)
    training, loss = time_peft(model, config, size, device, repetitions)
    found = {"sampling/seconds": sampling, "training/seconds": training, "training/loss": np.array(loss)}
    return {f"transformers/{name}": values for name, values in found.items()}
