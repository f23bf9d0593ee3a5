"""Stores of parts of the data that are joined, also when processes of their own have made them."""

import multiprocessing

import pytest
import torch
import trained

from attrfunc.core.errors import ArgumentError
from attrfunc.influence import count_sketch, embed, join_stores, open_store

LOSS = trained.cross_entropy
SKETCH = count_sketch(16, generator=torch.Generator().manual_seed(0))


def shard(rank, path):
    """One process's part: every second batch would do as well, if the order of rows is known."""
    torch.set_num_threads(1)
    model, (x, labels) = trained.network("mlp", torch.float32)
    part = slice(3 * rank, 3 * rank + 3)
    embed(model, [(x[part], labels[part])], loss=LOSS, sketch=SKETCH, path=f"{path}/{rank}")


def test_processes_share_the_work(tmp_path):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.starmap(shard, [(0, tmp_path), (1, tmp_path)])
    model, batch = trained.network("mlp", torch.float32)
    whole = embed(model, [batch], loss=LOSS, sketch=SKETCH, path=tmp_path / "whole")
    parts = [tmp_path / "0", tmp_path / "1"]
    joined = join_stores(parts, path=tmp_path / "joined")
    assert (joined.rows, joined.width, joined.sketch) == (6, 16, SKETCH)
    torch.testing.assert_close(joined.scores(model, batch, loss=LOSS), whole.scores(model, batch, loss=LOSS))
    written = (tmp_path / "joined" / "gradients.float32").stat().st_mtime_ns
    assert join_stores(parts, path=tmp_path / "joined") == joined == open_store(tmp_path / "joined")
    assert (tmp_path / "joined" / "gradients.float32").stat().st_mtime_ns == written


def test_parts_that_do_not_belong_together(tmp_path):
    model, batch = trained.network("mlp", torch.float32)
    make = lambda name, model=model, **options: embed(model, [batch], loss=LOSS, path=tmp_path / name, **options)
    make("a")
    make("sketched", sketch=SKETCH)
    make("head", parameters=["2"])
    other = trained.network("mlp", torch.float32)[0]
    with torch.no_grad():
        other[0].weight += 1
    make("other", other)
    refused = [
        ("another projection", ["a", "sketched"]),
        ("other parameters", ["a", "head"]),
        ("other values of the parameters", ["a", "other"]),
        ("an empty list", []),
        ("holds no manifest", ["a", "nothing"]),
    ]
    for match, names in refused:
        with pytest.raises(ArgumentError, match=f"join_stores: argument `.*{match}"):
            join_stores([tmp_path / name for name in names], path=tmp_path / "joined")
    with pytest.raises(ArgumentError, match="`paths`: got"):
        join_stores(tmp_path / "a", path=tmp_path / "joined")
    with pytest.raises(ArgumentError, match="one of the parts"):
        join_stores([tmp_path / "a"], path=tmp_path / "a")
    join_stores([tmp_path / "a"], path=tmp_path / "joined")
    with pytest.raises(ArgumentError, match="a store of other parts"):
        join_stores([tmp_path / "a", tmp_path / "a"], path=tmp_path / "joined")
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="cannot be written"):
        join_stores([tmp_path / "a"], path=tmp_path / "file" / "joined")
