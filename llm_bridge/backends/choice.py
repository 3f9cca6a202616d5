"""Which kind of models a name on the command line means."""

from llm_bridge.backends.backend import Backend, Known, Loading
from llm_bridge.backends.published import Published
from llm_bridge.backends.tiny import Tiny, is_tiny
from llm_bridge.tiny.pretraining import Pretraining
from theory.runs.compiler import require_right_compiler


def find_backend(name: str, pretraining: Pretraining | None = None, loading: Loading | None = None) -> Backend:
    """Find the kind of a model by its name.

    The name is `tiny`; a folder, a GGUF file, `smollm2`, or a repository of the hub (`owner/name`,
    `owner/name@revision`); or what a stage wrote: a file if it was tuned from the tiny model, else a folder.
    """
    loading = loading or Loading()
    if is_tiny(name):
        return Tiny(name=name, pretraining=pretraining or Pretraining(), system_prompt=loading.system_prompt)
    return Published(name=name, loading=loading)


def load_model(
    name: str, pretraining: Pretraining | None = None, seed: int = 0, loading: Loading | None = None
) -> Known:
    """Take a model by its name, of this seed if it is made here, once the compiler is known to be right."""
    require_right_compiler()
    return find_backend(name, pretraining, loading).load(seed)
