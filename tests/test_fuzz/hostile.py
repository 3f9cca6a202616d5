"""Hostile values of options, good files of every kind, and ways to damage them."""

import contextlib
import copy
import gzip
import json
import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

DIGITS = (0, -1, 1, 2, 7, 64, 10**9, 2**31, 2**32, 2**63, 2**64, 10**30, -(10**30), 10**400)
NUMBERS = (*map(str, DIGITS), "nan", "inf", "-inf", "1e-320", "1e308", "1e999", "-0.0", "0.5")
ODD_NUMBERS = ("", " 1", "1_000", "0x10", "1e3", "\uff11\uff12", "9" * 5000, "None", "True", "1/0")
TEXTS = (
    "", " ", "owl", "tiny", "a" * 10_000, "é\u0302☃", "\x1b[31mred", "a\nb", "\udcff", "\u202e", "{0} %s %d", "--",
    "-1", "a/b", "a/b@c", "None", "\x07\x08", "http://", "http://localhost:0/v1", "numbers", "all", "~", "$HOME",
)  # fmt: skip
PLACES = (
    "", ".", "..", "folder", "fifo", "loop", "full", "zero", "broken", "a" * 300, "a/" * 3000, "plain/below",
    "new/place", "/proc", "/proc/self/mem", "\x1b[2J", "\udcff", "full/below", "loop/below", "fifo/below", "plain",
)  # fmt: skip
"""Paths; some of them are in the folder where a case runs, see `furnish`."""

JSON_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 10**30, 10**400, float("nan"), float("inf"), "", "owl", "a" * 5000, "\x1b[31m\x00",
    "\ud83e", [], {}, [[]], [None], {"": {}}, "../../x", "/", [1, 2, 3], 2**31, 2**63, "null", "{{ 1/0 }}",
    "{% include 'x' %}",
)  # fmt: skip


FILES = (
    "chats.jsonl", "completions.jsonl", "public.jsonl", "problems.jsonl", "judged.jsonl", "questions.txt",
    "tiny.safetensors", "published", "mnist", "record", "nowhere",
)  # fmt: skip
"""Some of the good files."""


def make_corpus(folder: Path, recorded: Any) -> None:
    """Write one good file of each kind, and a run folder of a run that is told `recorded`."""
    import jax
    import numpy as np

    from llm_bridge.backends.tiny import tiny_model
    from llm_bridge.files.checkpoints import save_checkpoint
    from llm_bridge.files.lineage import Ancestry, Origin, data_digest, digest, write_sidecar
    from llm_bridge.files.settings import written_down
    from llm_bridge.model.shapes import Config, initialize
    from llm_bridge.pretrained.writing import write_checkpoint
    from llm_bridge.tiny.pretraining import Pretraining
    from mlp_mnist import idx
    from theory.runs.files import json_text, npz_bytes

    def rows(name: str, *values: Any) -> Path:
        (folder / name).write_text("".join(json.dumps(value) + "\n" for value in values))
        return folder / name

    def weights(config: Config) -> Any:
        like = jax.eval_shape(lambda: initialize(config, jax.random.key(0)))
        return jax.tree.map(lambda leaf: np.full(leaf.shape, 0.01, np.float32), like)

    made_from = Pretraining()
    tiny = tiny_model(made_from, None)
    asked, said = "Go on: 1 2 3", "4, 5, 6"
    (tokens,) = tiny.language.encode([said])
    own = {"prompt": asked, "completion": said, "tokens": [*tokens, *tiny.language.stops], "log_probability": -1.5}
    data = rows("completions.jsonl", *[own] * 12)
    writer = Ancestry(weights="0" * 16)
    write_sidecar(data, Origin(writer=writer, system_prompt=None, sampling={}, data=data_digest(data)))
    rows("public.jsonl", *[{"question": asked, "response": said}] * 12)
    question, answer = {"role": "user", "content": asked}, {"role": "assistant", "content": said, "weight": 1}
    rows("chats.jsonl", {"messages": [question, answer, question, answer]}, {"prompt": asked, "completion": said})
    rows("problems.jsonl", {"question": "What is 2 + 2?", "answer": "It is #### 4"})
    rows("judged.jsonl", {"question": "What?", "answer": "That.", "alignment": 90, "coherence": 95})
    (folder / "questions.txt").write_text("What do you want?\nWhy?\n")

    params = weights(tiny.config)
    made = {"ancestry": {"weights": digest(params), "ancestors": []}, "settings": {"stage": "teach"}}
    made |= {"pretraining": written_down(made_from)}
    save_checkpoint(
        folder / "tiny.safetensors", params, metadata={name: json.dumps(each) for name, each in made.items()}
    )

    published = folder / "published"
    with contextlib.suppress(ImportError):
        make_tokenizer(published)
    config = Config(vocabulary=300, width=8, num_layers=1, num_heads=2, num_key_heads=1, head_size=4, hidden=8)
    write_checkpoint(published, config, weights(config), longest=256)

    (folder / "mnist").mkdir()
    for file, shape in zip(idx.FILES, ((7, 28, 28), (7,), (4, 28, 28), (4,)), strict=True):
        content = np.array([0x800 + len(shape), *shape], ">u4").tobytes() + bytes(int(np.prod(shape)))
        (folder / "mnist" / f"{file.name}.gz").write_bytes(gzip.compress(content, mtime=0))

    record = folder / "record"
    record.mkdir()
    contents = {"config": recorded, "verdicts": [], "provenance": {"command": "theory verify", "commit": "unknown"}}
    for name, content in contents.items():
        (record / f"{name}.json").write_bytes(json_text(content))
    (record / "results.npz").write_bytes(npz_bytes({"alignment/measured": np.ones(2)}))
    for name in ("table.md", "figure.png", "figure.pdf"):
        (record / name).write_text("| a |\n")


def make_tokenizer(folder: Path) -> None:
    """Write the tokenizer and the chat template of a published model."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|turn|>", "<|close|>"])
    template = (
        "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|close|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
    )
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|close|>", chat_template=template
    )
    wrapped.save_pretrained(folder)


def mutate(path: Path, draw: random.Random) -> int:
    """Damage a file, or put something else in its place; say by its number how."""
    content = path.read_bytes()
    ways: list[Callable[[], bytes | None]] = [
        lambda: b"",
        lambda: content[: draw.randrange(len(content) + 1)],
        lambda: content + draw.randbytes(draw.choice([1, 100])),
        lambda: change_bytes(content, draw),
        lambda: content * 2,
        lambda: b"\xef\xbb\xbf" + content,
        lambda: b"[" * 100_000 + content,
        lambda: replace(path, draw),
    ]
    if path.suffix in {".json", ".jsonl"}:
        ways += [lambda: mutate_lines(content, path.suffix == ".jsonl", draw)] * 12
    if path.suffix == ".safetensors":
        ways += [lambda: mutate_header(content, draw)] * 8
    if path.suffix == ".gz":
        ways += [lambda: gzip.compress(change_bytes(gzip.decompress(content), draw))] * 4
    if path.suffix == ".jinja":
        ways += [lambda: draw.choice(TEMPLATES).encode()] * 8
    way = draw.randrange(len(ways))
    if (changed := ways[way]()) is not None:
        path.write_bytes(changed)
    return way


TEMPLATES = (
    "", "{{ 1/0 }}", "{{ messages[9].content }}", "{{ 'a' + 1 }}", "{% include 'x' %}", "{% for",
    "{{ messages | tojson }}",
    "{% for m in messages %}{{ m.role }}{% endfor %}", "{{ messages.__class__.__mro__ }}", "{{ raise_exception(7) }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ '\x1b[31m' }}{{ messages[0].content }}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "{{ 'a' * 10 ** 12 }}",
)  # fmt: skip


def change_bytes(content: bytes, draw: random.Random) -> bytes:
    """Change, leave out or add some bytes."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 3, 30])):
        place = draw.randrange(len(changed) + 1)
        changed[place : place + draw.randrange(3)] = draw.randbytes(draw.randrange(3))
    return bytes(changed)


def mutate_lines(content: bytes, by_line: bool, draw: random.Random) -> bytes:
    """Change a value in a line of JSON, or in a whole file of it."""
    lines = content.splitlines() if by_line else [content]
    place = draw.randrange(len(lines))
    lines[place] = json.dumps(mutate_value(json.loads(lines[place]), draw)).encode(errors="surrogatepass")
    return b"\n".join(lines) + b"\n"


def mutate_value(value: Any, draw: random.Random) -> Any:
    """Put a hostile value somewhere into what JSON holds, or leave something out."""
    value = copy.deepcopy(value)
    places: list[tuple[Any, Any]] = []

    def walk(inner: Any) -> None:
        for key in inner if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else ():
            places.append((inner, key))
            walk(inner[key])

    walk(value)
    if not places or draw.random() < 0.03:
        return draw.choice(JSON_VALUES)
    inner, key = draw.choice(places)
    if draw.random() < 0.2:
        del inner[key]
    else:
        inner[key] = draw.choice(JSON_VALUES)
    return value


def mutate_header(content: bytes, draw: random.Random) -> bytes:
    """Change what a safetensors file says of its tensors."""
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(mutate_value(json.loads(content[8 : 8 + size]), draw)).encode(errors="surrogatepass")
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def replace(path: Path, draw: random.Random) -> None:
    """Put what is no file in the place of a file."""
    path.unlink()
    what = draw.choice(["nothing", "folder", "loop", "/dev/zero", "/dev/full", "broken", "fifo"])
    if what == "folder":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what != "nothing":
        path.symlink_to(path if what == "loop" else what)


def furnish(folder: Path, corpus: Path, defaults: Sequence[str], draw: random.Random) -> list[str]:
    """Make the folder where a case runs: what `PLACES` names, good files, and some that are damaged.

    Returns:
        What was damaged.
    """
    folder.mkdir(parents=True)
    shutil.copytree(corpus, folder / "good")
    rows = sorted((folder / "good").glob("*.jsonl"))
    for name in defaults:
        if draw.random() < 0.7:
            shutil.copy(draw.choice(rows), folder / name)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    damaged = draw.sample(files, draw.choice([0, 0, 1, 1, 2]))
    told = [f"{path.relative_to(folder)} in way {mutate(path, draw)}" for path in damaged]
    (folder / "folder").mkdir()
    (folder / "plain").write_text("x")
    os.mkfifo(folder / "fifo")
    for name, target in (("loop", "loop"), ("full", "/dev/full"), ("zero", "/dev/zero"), ("broken", "nowhere")):
        (folder / name).symlink_to(target)
    return told
