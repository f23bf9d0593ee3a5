"""Attributions of whole data sets: what is stored beside what the methods give, of data in every form."""

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small_data import Pairs, net, rows
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import attrfunc as af

ERRORS = (af.ArgumentError,)
BATCH = 8


def expected(model, x, **options):
    """Batch by batch, as the method is called by hand."""
    found = [af.ig(model, part, target=model(part).argmax(1), n_steps=6, **options) for part in x.split(BATCH)]
    return torch.cat(found).numpy()


def run(data, path, model=None, method=af.ig, **options):
    given = {"target": "predicted", "batch_size": BATCH, "shard_rows": 16, "progress": False, "n_steps": 6}
    return af.data.attribute(method, model or net(), data, path=path, **{**given, **options})


class Streamed(IterableDataset):
    def __iter__(self):
        yield from zip(*rows(), strict=True)


def parquet_folder(folder, x, labels):
    """Several files, whose row groups fit no shard."""
    folder.mkdir()
    for number, part in enumerate(np.array_split(np.arange(len(x)), 3)):
        lists = pa.FixedSizeListArray.from_arrays(pa.array(x[part].numpy().reshape(-1)), 4)
        table = pa.table({"x": lists, "label": pa.array(labels[part].numpy()), "id": [f"row {i}" for i in part]})
        pq.write_table(table, folder / f"part-{number}.parquet", row_group_size=7)
    return folder


def sources(folder):
    x, labels = rows()
    named = {"columns": {"x": "x", "label": "label", "keep": ["id"]}}
    held = {"x": x.tolist(), "label": labels.tolist(), "id": [f"row {i}" for i in range(len(x))]}
    return {
        "list": ([(x[i : i + 5], labels[i : i + 5]) for i in range(0, 50, 5)], {}),
        "tensors": (TensorDataset(x, labels), {}),
        "loader": (DataLoader(Pairs(), batch_size=11), {}),
        "loader with workers": (DataLoader(Pairs(), batch_size=8, num_workers=1), {"batch_size": None}),
        "stream": (Streamed(), {}),
        "dicts": ([{"x": x, "label": labels, "id": held["id"]}], named),
        "hugging face": (datasets.Dataset.from_dict(held), named),
        "hugging face stream": (datasets.Dataset.from_dict(held).to_iterable_dataset(), named),
        "parquet": (parquet_folder(folder, x, labels), named),
    }


@pytest.mark.parametrize(
    "form", ["list", "tensors", "loader", "loader with workers", "stream", "dicts", "hugging face",
             "hugging face stream", "parquet"]
)  # fmt: skip
def test_data_in_every_form(form, tmp_path):
    data, options = sources(tmp_path / "data")[form]
    model, (x, labels) = net(), rows()
    before = torch.get_rng_state()
    store = run(data, tmp_path / "store", model, **options)
    if form not in ("loader with workers", "stream", "hugging face stream"):
        assert torch.equal(torch.get_rng_state(), before)
    assert len(store) == 50
    close = torch.testing.assert_close
    found = store.numpy()
    assert found.dtype == np.float32
    if form == "list":  # whose batches of 5 are never joined
        np.testing.assert_allclose(found, expected(model, x), rtol=1e-4, atol=1e-6)
    else:
        np.testing.assert_array_equal(found, expected(model, x))
    classes = model(x).argmax(1)
    assert store.numpy("row").tolist() == list(range(50))
    assert store.numpy("label").tolist() == labels.tolist()
    assert store.numpy("prediction").tolist() == store.numpy("target").tolist() == classes.tolist()
    close(torch.from_numpy(store.numpy("score")).float(), model(x).gather(1, classes[:, None])[:, 0].detach())
    gaps = af.completeness_gap(model, x, torch.from_numpy(found), target=classes)
    close(torch.from_numpy(store.numpy("gap")).float(), gaps, rtol=1e-3, atol=1e-6)
    assert store.errors() == {}
    if "keep" in options.get("columns", {}):
        assert store[-1]["id"] == "row 49"
    store.verify()


def test_what_a_store_gives(tmp_path):
    store = run(Pairs(unreadable={20}), tmp_path / "store")
    assert store == af.data.open_store(tmp_path / "store")
    every = list(store)
    assert [row["row"] for row in every] == list(range(50))
    assert torch.equal(every[7]["attributions"], store[7]["attributions"])
    assert store[7].keys() == set(store.columns)
    with pytest.raises(IndexError, match="row 50 of a store of 50 rows"):
        store[50]
    assert [table.num_rows for table in store.arrow()] == [16, 16, 16, 2]
    frame = store.to_pandas(["row", "score"])
    assert frame.shape == (50, 2)
    assert np.isnan(store.numpy()[20]).all()
    assert np.isnan(store.numpy("score")[20])
    assert store.to_arrow(["attributions"]).column("attributions").null_count == 1
    for call in (lambda: store.batches(["scores"]), lambda: store.to_arrow(["scores"])):
        with pytest.raises(ERRORS, match=r"'scores'; expected columns of the store. Near matches: 'score'"):
            call()


@pytest.mark.parametrize("workers", [0, 1])
def test_rows_that_fail(workers, tmp_path):
    """One cannot be read, one has another shape, one is not a number; the rest is as it would be."""
    data = Pairs(unreadable={3}, longer={10})
    data.x[30] = torch.nan
    store = run(DataLoader(data, batch_size=BATCH, num_workers=workers), tmp_path / "store")
    errors = store.errors()
    assert errors.keys() == {3, 10, 30}
    assert errors[3] == "OSError: picture 3 is cut short"
    assert "shapes cannot be multiplied (1x8 and 4x6)" in errors[10]
    assert "the score is not finite" in errors[30]
    assert [store[row]["label"] for row in (3, 10, 30)] == [None, 1, 0]
    good = [row for row in range(50) if row not in errors]
    np.testing.assert_allclose(store.numpy()[good], expected(net(), rows()[0])[good], rtol=1e-4, atol=1e-6)


def test_attributions_that_are_not_finite_are_told_of(tmp_path):
    def odd(model, x, *, target=None):
        return torch.where(x[:, :1] > 1, torch.inf, x)

    store = af.data.attribute(odd, net(), Pairs(), path=tmp_path / "store", target=0, progress=False)
    assert list(store.errors()) == torch.nonzero(rows()[0][:, 0] > 1).flatten().tolist()
    assert set(store.errors().values()) == {"ModelError: the attributions are not finite"}
