"""The manifest of a store: what it was made with, and whether it is whole."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from attrfunc.core.errors import ArgumentError, describe
from attrfunc.data.durable import write_whole

__all__ = ["begun", "finish", "folder_of", "identity_of", "read_manifest"]

_FORMAT = 1
_WORDS = {
    "model.parameters": "the model's parameters",
    "model.structure": "the model's layers or code",
    "model.attributes": "what the model's modules hold beside their parameters, or their hooks",
    "model.mode": "the model's mode (training or evaluation)",
    "model.place": "the layer or neuron, or tensors that were bound",
    "data.version": "`data_version`",
    "data": "the data",
    "method": "the method",
    "version": "the version of attrfunc",
}


def identity_of(made_with: dict[str, Any]) -> str:
    """A short hash of what a store is made with, which each of its shards carries."""
    return hashlib.sha256(json.dumps(made_with, sort_keys=True).encode()).hexdigest()[:16]


def folder_of(path: Any) -> Path:
    """The folder of a store, wherever the process goes from here.

    Raises:
        ArgumentError: If it is no path.
    """
    if not isinstance(path, str | Path) or not str(path):
        raise ArgumentError("path", describe(path), "the folder of a store, as a text or a Path", "Pass path='store'.")
    return Path(path).absolute()


def begun(folder: Path, made_with: dict[str, Any]) -> dict[str, Any]:
    """The manifest of what is there, or a new one.

    Args:
        folder: The store's folder, which is made.
        made_with: What the store is to be made with, as strings, numbers and dicts of these.

    Raises:
        ArgumentError: If it is a store that was made with something else, or a folder of something else.
    """
    ours = {"shards", "manifest.json"}
    there = folder.iterdir() if folder.is_dir() else ()
    others = sorted(one.name for one in there if one.name not in ours and not one.name.startswith("."))
    if others and read_manifest(folder) is None:
        got = f"{folder}, which has no manifest, and holds {others[0]!r}"
        raise ArgumentError("path", got, "a new folder, or a store", "Choose another folder.")
    try:
        (folder / "shards").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fix = "Choose a folder that may be made and written to."
        raise ArgumentError("path", f"{folder} ({error})", "a folder", fix) from error
    # In this order: another process may be about to begin the same store.
    has_shards = any((folder / "shards").glob("*.parquet"))
    if read_manifest(folder) is None:
        if has_shards:
            got = f"{folder}, which has no manifest, and holds 'shards'"
            raise ArgumentError("path", got, "a new folder, or a store", "Choose another folder.")
        _write(folder, {"format": _FORMAT, "made_with": made_with, "complete": False})
    manifest = read_manifest(folder)
    assert manifest is not None
    differences = _differences(_flat(manifest["made_with"]), _flat(made_with))
    if differences:
        fix = "Choose another path, or call with what it was made with; delete the folder to make it anew."
        got = f"{folder}, a store that was made with other values of: {'; '.join(differences)}"
        raise ArgumentError("path", got, "a new folder, or a store of this very call", fix)
    return manifest


def finish(folder: Path, manifest: dict[str, Any], rows: int, shards: int) -> dict[str, Any]:
    """Say that a store is whole."""
    done = {**manifest, "complete": True, "rows": rows, "shards": shards}
    if manifest != done:
        _write(folder, done)
    return done


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest; None where there is none.

    Raises:
        ArgumentError: If it cannot be read.
    """
    file = folder / "manifest.json"
    try:
        held = json.loads(file.read_text())
        if held["format"] != _FORMAT:
            got = f"{folder}, a store of format {held['format']}"
            raise ArgumentError("path", got, f"format {_FORMAT}", "Open it with the version that made it.")
        return {"made_with": dict(held["made_with"]), "complete": bool(held["complete"]), **held}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError, OSError) as error:
        if isinstance(error, ArgumentError):
            raise
        got = f"{folder}, whose manifest.json cannot be read ({error})"
        fix = "Restore that file from a copy, or delete the folder and make the store anew."
        raise ArgumentError("path", got, "a store", fix) from error


def _flat(held: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in held.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return found


def _differences(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """What differs, in words, with both values where these are short."""
    found: dict[str, str] = {}
    for name in sorted({*theirs, *ours}):
        left, right = (str(side.get(name, "nothing")) for side in (theirs, ours))
        if left != right:
            word = next((text for key, text in _WORDS.items() if name == key or name.startswith(key + ".")), "")
            word = word or f"`{name.removeprefix('options.')}`"
            short = max(len(left), len(right)) <= 60 and not word.startswith("the model's p")
            found.setdefault(word, f"{word} ({left} there, {right} now)" if short else word)
    return list(found.values())


def _write(folder: Path, manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest, indent=1)
    write_whole(folder / "manifest.json", lambda partial: partial.write_text(text))
