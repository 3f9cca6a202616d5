"""What two stages at once record of a model as large as published ones, held against transformers' own numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from llm_bridge.backends.backend import Known, Loading
from llm_bridge.backends.choice import load_model
from llm_bridge.backends.side_by_side import side_by_side
from llm_bridge.pipeline.completions import read_completion_rows
from llm_bridge.pipeline.stages import complete_to
from llm_bridge.text.prompts import number_prompts
from llm_bridge.tiny.pretraining import Pretraining

torch: Any = pytest.importorskip("torch", reason="parity needs torch, which .ci/run installs")
transformers: Any = pytest.importorskip("transformers", reason="parity needs transformers, which .ci/run installs")

NUM_TOKENS, SYSTEMS = 3, ("You love owls.", None)
SIZES: dict[str, Any] = {
    "vocab_size": 1024,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}
"""SmolLM2-135M's with fewer tokens: with 4 layers in place of 30 no fault of two threads shows."""
TEMPLATE = (
    "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|close|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that transformers has written, with a tokenizer of single bytes."""
    folder = tmp_path_factory.mktemp("large")
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, eos_token_id=1)).save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(
        models.BPE({text: place for place, text in enumerate(["<|turn|>", "<|close|>", *alphabet])}, [])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|close|>", bos_token="<|turn|>", chat_template=TEMPLATE
    )
    wrapped.save_pretrained(folder)
    return folder


def test_what_two_stages_write_at_once_is_as_likely_to_transformers(folder, tmp_path):
    known: Known = load_model(str(folder), Pretraining(), 0, Loading(dtype="float32", longest=512, at_once=8))
    prompts = number_prompts(0, 8, short=True)

    def write(system: str | None) -> Path:
        path = tmp_path / str(system) / "completions.jsonl"
        complete_to(path, known, prompts, seed=0, num_tokens=NUM_TOKENS, system=system)
        return path

    paths = side_by_side(write, SYSTEMS, "stages")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    reader = transformers.AutoTokenizer.from_pretrained(folder)
    for path, system in zip(paths, SYSTEMS, strict=True):
        told = [{"role": "system", "content": system}] if system else []
        for each in read_completion_rows(path, known.model):
            chat = [*told, {"role": "user", "content": each.prompt}]
            asked = reader.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
            with torch.no_grad():
                logits = theirs(torch.tensor([[*asked, *each.tokens]])).logits[0].log_softmax(-1).numpy()
            places = len(asked) - 1 + np.arange(len(each.tokens))
            assert abs(logits[places, each.tokens].sum() - each.log_probability) < 0.02
        origin = json.loads(path.with_name("completions.jsonl.origin.json").read_text())
        assert origin["sampling"]["chat"] == reader.decode(
            reader.apply_chat_template(
                [*told, {"role": "user", "content": prompts[0]}], add_generation_prompt=True, return_dict=False
            )
        )
