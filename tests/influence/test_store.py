"""Stores of gradients: what they give, and what happens when something is wrong with them."""

import builtins
import json

import numpy as np
import pytest
import torch
import trained

from attrfunc.core.errors import ArgumentError
from attrfunc.influence import count_sketch, embed, open_store, top, tracin

LOSS = trained.cross_entropy
SKETCH = count_sketch(16, generator=torch.Generator().manual_seed(0))
close = torch.testing.assert_close


@pytest.fixture
def case(tmp_path):
    model, (x, labels) = trained.network("mlp", torch.float32)
    data = [(x[:2], labels[:2]), (x[2:5], labels[2:5]), (x[5:], labels[5:])]
    return model, data, (x, labels), tmp_path / "store"


@pytest.mark.parametrize("sketch", [None, SKETCH])
def test_a_store_gives_what_tracin_gives(case, sketch):
    model, data, batch, path = case
    store = embed(model, data, loss=LOSS, path=path, sketch=sketch)
    assert store.rows == 6
    assert isinstance(store.vectors, np.memmap)
    expected = tracin(model, batch, data=data, loss=LOSS, sketch=sketch)
    close(store.scores(model, batch, loss=LOSS), expected)
    close(open_store(path).scores(model, batch, loss=LOSS), expected)
    logit = lambda model, batch: model(batch[0])[:, 0]
    close(store.scores(model, batch, loss=LOSS, measure=logit),
          tracin(model, batch, data=data, loss=LOSS, sketch=sketch, measure=logit))  # fmt: skip
    for largest in (True, False):
        found = store.top(model, batch, loss=LOSS, k=3, largest=largest)
        exact = top(tracin, k=3, largest=largest)(model, batch, data=data, loss=LOSS, sketch=sketch)
        assert torch.equal(found.indices, exact.indices)
        graph = store.top(model, batch, loss=LOSS, k=3, largest=largest, index="faiss")
        close(graph.scores, exact.scores)
        close(store.top(model, batch, loss=LOSS, k=3, largest=largest, index="faiss").scores, exact.scores)


def test_a_store_that_is_whole_is_not_made_again(case):
    model, data, _, path = case
    store = embed(model, data, loss=LOSS, path=path)
    calls = []

    def counted(model, batch):
        calls.append(len(batch[1]))
        return LOSS(model, batch)

    assert embed(model, data, loss=counted, path=path) == store
    assert set(calls) == {1}  # the first example, which tells whether the loss is another


def test_a_store_of_another_loss_is_refused(case):
    model, data, _, path = case
    embed(model, data, loss=LOSS, path=path)
    with pytest.raises(ArgumentError, match=r"embed: argument `path`: got .*a store of another loss, or of a model"):
        embed(model, data, loss=lambda model, batch: 2 * LOSS(model, batch), path=path)


def test_an_interrupted_run_goes_on(case):
    model, data, _, path = case
    whole = np.array(embed(model, data, loss=LOSS, path=path.with_name("whole")).vectors)
    calls = []

    def breaks(model, batch):
        calls.append(len(batch[1]))
        if len(calls) > 4:  # two runs for the check of each of the first batches, and one more
            raise KeyboardInterrupt
        return LOSS(model, batch)

    with pytest.raises(KeyboardInterrupt):
        embed(model, data, loss=breaks, path=path)
    with pytest.raises(ArgumentError, match=r"open_store: argument `path`: got .*2 rows are written, and not all"):
        open_store(path)
    with open(path / "gradients.float32", "ab") as file:
        file.write(b"half a row")
    seen = []

    def noted(model, batch):
        seen.append(len(batch[1]))
        return LOSS(model, batch)

    assert np.array_equal(np.array(embed(model, data, loss=noted, path=path).vectors), whole)
    assert 2 not in seen


def test_a_full_disk(case, monkeypatch):
    model, data, _, path = case
    whole = np.array(embed(model, data, loss=LOSS, path=path.with_name("whole")).vectors)
    real, left = builtins.open, [1]

    class Full:
        def __init__(self, file):
            self._file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._file.close()

        def __getattr__(self, name):
            return getattr(self._file, name)

        def write(self, numbers):
            if not left[0]:
                self._file.write(numbers[:7])
                raise OSError(28, "No space left on device")
            left[0] -= 1
            self._file.write(numbers)

    def opened(file, mode="r", *args, **kwargs):
        found = real(file, mode, *args, **kwargs)
        return Full(found) if mode == "ab" else found

    with monkeypatch.context() as patched:
        patched.setattr(builtins, "open", opened)
        with pytest.raises(ArgumentError, match=r"embed: argument `path`: .*No space left.*goes on from there"):
            embed(model, data, loss=LOSS, path=path)
    assert np.array_equal(np.array(embed(model, data, loss=LOSS, path=path).vectors), whole)


def test_stale_stores_are_refused(case):
    model, data, batch, path = case
    store = embed(model, data, loss=LOSS, path=path, sketch=SKETCH)
    refused = lambda match, *args, **kwargs: _raises(match, embed, *args, loss=LOSS, path=path, **kwargs)
    refused("a store of another projection", model, data)
    refused("a store of other parameters", model, data, sketch=SKETCH, parameters=["0"])
    refused("a store of other data, or batches in another order", model, data[::-1], sketch=SKETCH)
    refused("a store of fewer batches", model, [*data, data[0]], sketch=SKETCH)
    refused("a store of more batches", model, data[:2], sketch=SKETCH)
    with torch.no_grad():
        model[0].bias += 1
    refused("a store of other values of the parameters", model, data, sketch=SKETCH)
    _raises("Store.scores: argument `model`: got other parameters", store.scores, model, batch, loss=LOSS)
    _raises("Store.top: argument `model`", store.top, model, batch, loss=LOSS, k=2)


def test_broken_stores_are_refused(case):
    model, data, batch, path = case
    store = embed(model, data, loss=LOSS, path=path)
    _raises("Store.top: argument `index`", store.top, model, batch, loss=LOSS, k=2, index="annoy")
    _raises("Store.top: argument `k`", store.top, model, batch, loss=LOSS, k=7)
    _raises("Store.top: argument `k`", store.top, model, batch, loss=LOSS, k=7, index="faiss")
    numbers = path / "gradients.float32"
    numbers.write_bytes(numbers.read_bytes()[:-4])
    _raises("are not the .* bytes that its manifest", open_store, path)
    _raises("fewer numbers than its manifest", embed, model, data, loss=LOSS, path=path)
    (path / "manifest.json").write_text("{")
    _raises("whose manifest cannot be read", open_store, path)
    (path / "manifest.json").write_text(json.dumps({"format": 1}))
    _raises("whose manifest cannot be read", embed, model, data, loss=LOSS, path=path)
    _raises("holds no manifest", open_store, path / "nowhere")
    file = path.with_name("file")
    file.write_text("")
    _raises("embed: argument `path`: .*cannot be written to", embed, model, data, loss=LOSS, path=file)
    _raises("argument `sketch`", embed, model, data, loss=LOSS, path=path.with_name("other"), sketch=16)


def _raises(match, call, *args, **kwargs):
    with pytest.raises(ArgumentError, match=match):
        call(*args, **kwargs)
