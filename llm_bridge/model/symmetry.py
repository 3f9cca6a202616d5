"""A symmetry of the transformer: other parameters, the same function."""

import jax
import jax.numpy as jnp

from llm_bridge.model.shapes import Config
from theory.problem import Params


def rescale_units(config: Config, params: Params, key: jax.Array, spread: float) -> Params:
    r"""Scale what enters every unit by $s$ with $\log s \sim N(0, \text{spread}^2)$, and what leaves it by $1 / s$.

    Units are those that enter the network linearly: a SwiGLU's, behind its gate, and the features of every head's
    values.
    """
    layers, dtype = params["layers"], params["layers"]["up"]["kernel"].dtype
    hidden_key, values_key = jax.random.split(key)
    shape = (config.num_layers, config.num_key_heads, config.head_size)
    hidden = jnp.exp(spread * jax.random.normal(hidden_key, (config.num_layers, config.hidden), dtype))
    values = jnp.exp(spread * jax.random.normal(values_key, shape, dtype))
    served = jnp.repeat(values, config.num_heads // config.num_key_heads, axis=1)
    into = {"up": hidden, "value": values.reshape(config.num_layers, -1)}
    out = {"down": hidden, "output": served.reshape(config.num_layers, -1)}
    scaled = {name: layers[name] | {"kernel": layers[name]["kernel"] * into[name][:, None]} for name in into}
    scaled |= {name: {"kernel": layers[name]["kernel"] / out[name][:, :, None]} for name in out}
    if config.biases:
        scaled["value"]["bias"] = layers["value"]["bias"] * into["value"]
    return params | {"layers": layers | scaled}
