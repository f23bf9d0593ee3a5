"""Models by name: an exported program, an object of Python, or a model of transformers."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from attrfunc.cli.failures import UsageError

__all__ = ["Loaded", "first_tensor", "load", "object_of"]

PICKLES = {".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib", ".ts", ".jit", ".torchscript"}
TASKS = ("image-classification", "text-classification", "text-generation")
FORMS = (
    "a file model.pt2 of torch.export.save, an object module:attribute or file.py:function, or a folder or a name of "
    "transformers"
)


@dataclass(frozen=True)
class Loaded:
    """A model, and what belongs to it.

    Attributes:
        model: The model.
        task: One of `TASKS`; empty if nothing says.
        processor: The image processor of a model of transformers.
        tokenizer: Its tokenizer.
        classes: Names of the classes, by number.
        example: The input that a program was exported with.
    """

    model: Any
    task: str = ""
    processor: Any = None
    tokenizer: Any = None
    classes: dict[int, str] | None = None
    example: Any = None


def load(spec: str, *, weights: Path | None = None, task: str | None = None) -> Loaded:
    """Load a model.

    Args:
        spec: What the user wrote.
        weights: A state dict for an object of Python.
        task: What a model of transformers is for, where its configuration does not say.

    Raises:
        UsageError: If there is no such model, or to open it could run code from the file.
    """
    path = Path(spec)
    if weights is not None and not _is_object(spec):
        raise UsageError(f"--weights go with an object of Python (file.py:function); {spec!r} has weights of its own.")
    if path.suffix == ".pt2":
        return _exported(path)
    if path.suffix in PICKLES:
        raise UsageError(
            f"{spec!r} may be a pickle or TorchScript, which run code when they are opened. Save the model by "
            "torch.export.save(torch.export.export(model, inputs), 'model.pt2'), or name what makes it: "
            f"--model file.py:function --weights {spec} (of which tensors alone are read)."
        )
    if _is_object(spec):
        return _object(spec, weights)
    return _transformers(spec, task)


def _is_object(spec: str) -> bool:
    return re.fullmatch(r".+:[A-Za-z_][\w.]*", spec) is not None


def _exported(path: Path) -> Loaded:
    if not path.is_file():
        raise UsageError(f"there is no file {str(path)!r}.")
    _require_plain(path)
    try:
        with _tensors_only():
            program = torch.export.load(path)
    except UsageError:
        raise
    except Exception as error:  # whatever torch makes of a file
        raise UsageError(f"{str(path)!r} is not what this version of torch saves: {_line(error)}") from error
    given = program.example_inputs
    example = None if not given or not given[0] else given[0][0] if len(given[0]) == 1 else tuple(given[0])
    return Loaded(program.module(), example=example)


def _require_plain(path: Path) -> None:
    """Raise if an archive holds what torch would open as a pickle of objects."""
    try:
        names = zipfile.ZipFile(path).namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise UsageError(f"{str(path)!r} is not an exported program: {_line(error)}.") from None
    if not any("models/" in name and name.endswith(".json") for name in names):
        raise UsageError(
            f"{str(path)!r} is of an older format, which holds pickles. Save it again by torch.export.save."
        )
    for name in names:
        parts = name.split("/")
        if "constants" in parts and re.match(r"(custom_obj|opaque_obj|script_obj)", parts[-1]):
            raise UsageError(f"{str(path)!r} holds an object of Python ({parts[-1]}), a pickle, which is not opened.")


@contextmanager
def _tensors_only() -> Iterator[None]:
    """Let `torch.load` read tensors and nothing else, whatever its caller asks for."""
    original = torch.load

    def load_tensors(file: Any, *args: Any, **options: Any) -> Any:
        return original(file, *args, **{**options, "weights_only": True})

    torch.load = load_tensors  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.load = original


def object_of(spec: str) -> Any:
    """An object of Python by name; a function is called, and what it returns is meant.

    Raises:
        UsageError: If there is none.
    """
    if not _is_object(spec):
        raise UsageError(f"{spec!r} names no object: expected module:attribute or file.py:function.")
    where, _, name = spec.rpartition(":")
    found: Any = _file(Path(where)) if where.endswith(".py") else _module(where)
    for part in name.split("."):
        if not hasattr(found, part):
            known = ", ".join(key for key in vars(found) if not key.startswith("_"))[:200]
            raise UsageError(f"{where!r} has no {name!r}. It has: {known or 'nothing'}.")
        found = getattr(found, part)
    return found if isinstance(found, nn.Module) or not callable(found) else found()


def _object(spec: str, weights: Path | None) -> Loaded:
    found = object_of(spec)
    if not callable(found):
        raise UsageError(f"{spec!r} is or returns {type(found).__name__}; expected a model, or a function of it.")
    if weights is not None:
        _fill(found, weights)
    return Loaded(found.eval() if isinstance(found, nn.Module) else found)


def _file(path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"there is no file {str(path)!r}.")
    name = f"_attrfunc_model_{path.stem}"
    made = importlib.util.spec_from_file_location(name, path)
    assert made is not None
    assert made.loader is not None
    module = importlib.util.module_from_spec(made)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent.resolve()))  # it may import what stands beside it, as a script may
    try:
        made.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


def _module(name: str) -> Any:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise
        raise UsageError(f"there is no module {error.name!r} to import. A file is named with .py: file.py:f.") from None


def _fill(model: Any, path: Path) -> None:
    """Give a model the weights of a file."""
    if not isinstance(model, nn.Module):
        raise UsageError("--weights need a torch.nn.Module to go into.")
    if not path.is_file():
        raise UsageError(f"there is no file {str(path)!r}.")
    try:
        if path.suffix == ".safetensors":
            state: Any = importlib.import_module("safetensors.torch").load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except ModuleNotFoundError:
        raise UsageError("safetensors is not installed: pip install safetensors.") from None
    except Exception as error:  # a pickle of other things, or no file of torch's
        raise UsageError(f"{str(path)!r} is not a state dict of tensors alone: {_line(error)}") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(f"{str(path)!r} holds {type(state).__name__}; expected a state dict, tensors by name.")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise UsageError(f"the weights of {str(path)!r} do not fit: {' '.join(str(error).split())[:300]}") from error


def _transformers(spec: str, task: str | None) -> Loaded:
    if Path(spec).suffix or (("/" in spec or "\\" in spec) and spec.count("/") > 1 and not Path(spec).is_dir()):
        raise UsageError(f"{spec!r} is no model that is there; expected {FORMS}.")
    try:
        import transformers
    except ImportError:
        raise UsageError(
            f"{spec!r} is {FORMS}; of these transformers is not installed: pip install transformers."
        ) from None
    quiet(transformers)
    try:
        config = transformers.AutoConfig.from_pretrained(spec)
    except Exception as error:  # no such model, no network, no configuration
        raise UsageError(f"{spec!r} is no model that is there; expected {FORMS}. ({_line(error)})") from error
    task = task or _task(config)
    makers: dict[str, Callable[..., Any]] = {
        "image-classification": transformers.AutoModelForImageClassification.from_pretrained,
        "text-classification": transformers.AutoModelForSequenceClassification.from_pretrained,
        "text-generation": transformers.AutoModelForCausalLM.from_pretrained,
    }
    if task not in makers:
        raise UsageError(f"{spec!r} does not say what it is for: pass --task, one of {', '.join(TASKS)}.")
    model = makers[task](spec).eval()
    classes = {int(number): name for number, name in (getattr(config, "id2label", None) or {}).items()}
    if task == "image-classification":
        return Loaded(model, task, processor=_processor(transformers, spec), classes=classes)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(spec)
    except Exception as error:
        raise UsageError(f"{spec!r} has no tokenizer that could be loaded: {_line(error)}") from error
    return Loaded(model, task, tokenizer=tokenizer, classes=classes if task == "text-classification" else None)


def _task(config: Any) -> str:
    names = " ".join(getattr(config, "architectures", None) or ())
    for part, task in (
        ("ForImageClassification", TASKS[0]),
        ("ForSequenceClassification", TASKS[1]),
        ("ForCausalLM", TASKS[2]),
        ("LMHeadModel", TASKS[2]),
    ):
        if part in names:
            return task
    return ""


def _processor(transformers: Any, spec: str) -> Any:
    """Its image processor; None where it has none, or one that cannot be had here."""
    try:
        return transformers.AutoImageProcessor.from_pretrained(spec, use_fast=False)
    except Exception:  # it is not needed where --size, --mean and --std are given
        return None


def quiet(transformers: Any) -> None:
    """No bars and no advice between the lines of a result."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:300]


def first_tensor(tree: Any) -> Tensor | None:
    """The first tensor of a structure."""
    return next((leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)), None)
