"""Stores of another model or call, damaged ones, what is stored of methods of every kind, and calls that cannot be."""

import functools
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small_data import Pairs, net, rows
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import attrfunc as af

OPTIONS = {"target": 0, "batch_size": 8, "shard_rows": 16, "progress": False}


def run(path, model=None, data=None, method=af.ig, **options):
    model, data = net() if model is None else model, Pairs() if data is None else data
    return af.data.attribute(method, model, data, path=path, **{**OPTIONS, "n_steps": 4, **options})


def counted(model, x, *, calls, target=None):
    calls.append(len(x))
    return af.saliency(model, x, target=target)


class Calls(list):
    """What was called; described alike, whatever it holds."""


def trained(seed):
    model = net(seed)
    model.train()
    return model


class Changed(type(net())):
    def forward(self, x):
        return super().forward(x) * 2


def changed():
    model = net()
    model.__class__ = Changed
    return model


def attributed():
    model = net()
    model.temperature = 2.0
    return model


def hooked():
    model = net()
    model.head.register_forward_hook(lambda module, given, output: output * 2)
    return model


def other_rows():
    data = Pairs()
    data.x[-1] += 1
    return data


OTHERS = {
    "parameters": ({"model": net(1)}, "the model's parameters"),
    "mode": ({"model": net().train()}, r"mode \(training or evaluation\) \(evaluation there, training now\)"),
    "code": ({"model": changed()}, "the model's layers or code"),
    "layers": ({"model": nn.Sequential(net())}, "the model's layers or code"),
    "place": ({"model": af.layer(net(), "hidden")}, "the layer or neuron"),
    "bound": ({"model": af.bind(net(), {"head.bias": torch.ones(3)})}, "tensors that were bound"),
    "data": ({"data": other_rows()}, "the data;"),
    "fewer rows": ({"data": Pairs(49)}, "the data"),
    "method": ({"method": af.guided_ig}, "the method"),
    "target": ({"target": 1}, r"`target` \(0 there, 1 now\)"),
    "callable": ({"target": lambda output: output[:, 0]}, "`target`"),
    "option": ({"n_steps": 5}, r"`n_steps` \(4 there, 5 now\)"),
    "two": ({"seed": 1, "batch_size": 4}, r"`batch_size` \(8 there, 4 now\); `seed` \(0 there, 1 now\)"),
    "format": ({"format": "zarr"}, r"`format` \(parquet there, zarr now\)"),
    "columns": ({"columns": {"x": 0}}, "`columns`"),
    "attribute": ({"model": attributed()}, "what the model's modules hold"),
    "hook": ({"model": hooked()}, "what the model's modules hold beside their parameters, or their hooks"),
    "version": ({"data_version": "2026-11-28"}, r"`data_version` \(None there, 2026-11-28 now\)"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return run(tmp_path_factory.mktemp("stores") / "store")


@pytest.mark.parametrize("other", OTHERS)
def test_a_store_of_something_else(made, other):
    options, message = OTHERS[other]
    with pytest.raises(af.ArgumentError, match=rf"attribute: argument `path`: .*other values of: .*{message}"):
        run(made.path, **options)
    assert len(run(made.path)) == 50


SCALE = 1.0


def scaled(x):
    return net()(x) * SCALE


def test_a_number_that_a_function_reads_has_changed(tmp_path, monkeypatch):
    call = lambda: af.data.attribute(af.saliency, scaled, Pairs(), path=tmp_path / "store", **OPTIONS)
    assert len(call()) == len(call())
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    with pytest.raises(af.ArgumentError, match="other values of: the model's parameters"):
        call()


def test_any_row_of_tensors_tells_data_apart(tmp_path):
    x, labels = rows(200)
    run(tmp_path / "store", data=TensorDataset(x, labels))
    x[37, 2] += 1
    with pytest.raises(af.ArgumentError, match="other values of: the data;"):
        run(tmp_path / "store", data=TensorDataset(x, labels))


def test_a_store_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = run("störe 🙂")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert store.numpy().shape == (50, 4)


def test_a_stream_of_other_rows(tmp_path):
    """Which its first batch does not tell."""
    x, labels = rows(64)
    data = [[x[i : i + 8], labels[i : i + 8]] for i in range(0, 64, 8)]
    store = run(tmp_path / "store", data=data)
    store.shards[2].path.unlink()
    swapped = [*data[:2], data[3], data[2], *data[4:]]
    for other in (swapped, data[:3]):
        with pytest.raises(
            af.ArgumentError, match=r"other data, or of batches in another order: rows 16 on|the data ends"
        ):
            run(store.path, data=other)
    assert run(store.path, data=data).numpy("row").tolist() == list(range(64))


def test_another_version(made, monkeypatch):
    monkeypatch.setattr(af, "__version__", "9.9")
    with pytest.raises(af.ArgumentError, match=r"the version of attrfunc \(.* there, 9.9 now\)"):
        run(made.path)


def test_what_is_whole_is_not_computed_again(tmp_path):
    calls = Calls()
    method = functools.partial(counted, calls=calls)
    held = {"model": net(), "data": Pairs(), "method": method}
    options = {**OPTIONS, "path": tmp_path / "store"}

    def call():
        calls.clear()  # which is a part of what the method is described by
        return af.data.attribute(method, held["model"], held["data"], **options)

    first = call()
    assert calls == [8, 8, 8, 8, 8, 8, 2]
    assert call() == first
    assert calls == []
    (tmp_path / "store" / "shards" / "00000001.parquet").unlink()
    assert call() == first
    assert calls == [8, 8]


@pytest.mark.parametrize("form", ["parquet", "zarr"])
@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "lost"])
def test_damaged_shards(form, damage, tmp_path):
    store = run(tmp_path / "store", format=form)
    before = store.numpy()
    file = store.path / "shards" / f"00000002.{'zarr.zip' if form == 'zarr' else 'parquet'}"
    held = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(held[: len(held) // 2])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "lost":
        file.unlink()
    else:
        place = _inside(file, form)
        held[place] ^= 255
        file.write_bytes(held)
    if damage == "lost" and form == "parquet":
        with pytest.raises(af.ArgumentError, match=r"shards are missing: \[2\].*goes on where it was"):
            af.data.open_store(store.path)
    else:
        # One of its size and with all of its ends is found when it is read.
        flipped = damage == "flipped"
        look = lambda: af.data.open_store(store.path).verify() if flipped else run(store.path, format=form)
        with pytest.raises(af.ArgumentError, match=r"argument `path`: got .*is damaged") as caught:
            look()
        parquet = store.path / "shards" / "00000002.parquet"
        assert f"Delete {parquet} and call attribute" in str(caught.value)
        parquet.unlink()
    again = run(store.path, format=form)
    again.verify()
    np.testing.assert_array_equal(again.numpy(), before)


def _inside(file, form):
    """A place amid the numbers of a file."""
    if form == "zarr":
        return file.stat().st_size // 3
    held = pq.ParquetFile(file).metadata.row_group(0)
    chunk = next(held.column(i) for i in range(held.num_columns) if "attributions" in held.column(i).path_in_schema)
    return chunk.data_page_offset + chunk.total_compressed_size - 8


def test_manifests_and_folders_of_something_else(tmp_path, made):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(af.ArgumentError, match=r"`path`: got .*has no manifest, and holds 'notes.txt'"):
        run(tmp_path)
    folder = tmp_path / "store"
    folder.mkdir()
    for text, message in (
        ("{", "whose manifest.json cannot be read"),
        ("[]", "whose manifest.json cannot be read"),
        (json.dumps({"format": 2}), "a store of format 2"),
    ):
        (folder / "manifest.json").write_text(text)
        for call in (run, af.data.open_store):
            with pytest.raises(af.ArgumentError, match=rf"`path`: got .*{message}"):
                call(folder)
    file = tmp_path / "notes.txt"
    with pytest.raises(af.ArgumentError, match=r"`path`: got .*notes.txt.*expected a folder"):
        run(file)
    other = run(tmp_path / "other", target=2)
    (other.path / "shards" / "00000003.parquet").write_bytes(
        (made.path / "shards" / "00000003.parquet").read_bytes()
    )  # fmt: skip
    with pytest.raises(af.ArgumentError, match="it is of another store"):
        af.data.open_store(other.path)


@pytest.mark.parametrize("form", ["parquet", "zarr"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64])
def test_structures_and_dtypes(form, dtype, tmp_path):
    """Of several tensors, of one number for each row, and of several dimensions."""

    def method(model, x, *, target=None):
        a = (x[0] * 3).to(dtype)
        return {"a": a, "b": [a[:, 0], a.reshape(len(a), 2, 2, 1)]}

    x = rows(10)[0]
    data = [{"one": x[:7], "two": x[:7], "name": list("abcdefg")}, {"one": x[7:], "two": x[7:], "name": list("hij")}]
    columns = {"x": ("one", "two"), "keep": "name"}
    model = lambda one, two: one.sum(1)
    store = af.data.attribute(
        method, model, data, path=tmp_path / "s", columns=columns, format=form, progress=False, gap=False
    )
    stored = torch.float32 if dtype == torch.bfloat16 else dtype
    expected = method(model, (x, x))
    assert {"attributions.a", "attributions.b.0", "attributions.b.1"} < set(store.columns)
    for row, place in zip(store, range(10), strict=True):
        assert row["name"] == "abcdefghij"[place]
        for name, leaf in (("a", expected["a"]), ("b.0", expected["b"][0]), ("b.1", expected["b"][1])):
            assert row[f"attributions.{name}"].dtype == stored
            assert torch.equal(row[f"attributions.{name}"], leaf[place].to(stored))
    store.verify()


def test_layers_arguments_and_preparation(tmp_path):
    """Attributions at two layers; a baseline and a keyword of each row; batches that are made of what is read."""
    model, x = net(), rows(20)[0]
    both = lambda x, scale=None: model.requires_grad_(False)(x) * scale
    data = [
        {"pixels": (x * 255)[i : i + 5], "base": x[i : i + 5] * 0.5, "s": x[i : i + 5, :1]} for i in range(0, 20, 5)
    ]
    columns = {"x": "x", "baseline": "base", "kwargs": {"scale": "s"}}
    prepare = lambda batch: {**batch, "x": batch["pixels"] / 255}
    store = af.data.attribute(
        af.ig, both, data, path=tmp_path / "a", columns=columns, prepare=prepare, target=1, progress=False
    )
    parts = zip(x.split(5), strict=True)
    expected = [af.ig(both, p * 255 / 255, baseline=p * 0.5, kwargs={"scale": p[:, :1]}, target=1) for (p,) in parts]
    np.testing.assert_array_equal(store.numpy(), torch.cat(expected))
    assert store.numpy("gap").shape == (20,)
    layers = af.layer(model, ["hidden", "head"])
    store = run(tmp_path / "b", layers)
    assert {"gap.0", "gap.1"} < set(store.columns)
    assert abs(store.numpy("gap.1")).max() < 1e-5  # the head's own output
    assert [store[3][f"attributions.{i}"].shape for i in (0, 1)] == [(6,), (3,)]
    assert torch.equal(store[3]["attributions.0"], af.ig(layers, Pairs().x[:8], target=0, n_steps=4)[0][3])


def test_draws_do_not_depend_on_interruptions(tmp_path):
    baselines = torch.randn(9, 4)
    call = lambda path, **more: af.data.attribute(
        af.gradient_shap, net(), Pairs(), path=tmp_path / path, baselines=baselines, **{**OPTIONS, **more}
    )
    first = call("a")
    (tmp_path / "a" / "shards" / "00000001.parquet").unlink()
    np.testing.assert_array_equal(call("a").numpy(), first.numpy())
    np.testing.assert_array_equal(call("b").numpy(), first.numpy())
    assert (call("c", seed=1).numpy() != first.numpy()).any(1).all()
    noisy = lambda model, x, *, target=None: af.smooth(af.saliency, n_samples=2)(model, x, target=target)
    model, before = net(), torch.get_rng_state()
    results = [af.data.attribute(noisy, model, Pairs(), path=tmp_path / name, **OPTIONS) for name in ("d", "e")]
    np.testing.assert_array_equal(results[0].numpy(), results[1].numpy())
    assert torch.equal(torch.get_rng_state(), before)


def test_the_model_is_as_it_was(made):
    model = net().train()
    held = {name: value.clone() for name, value in model.state_dict().items()}
    parameters = list(model.parameters())
    run(made.path.parent / "trained", model, predictions=True)
    assert model.training
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert all(torch.equal(value, held[name]) for name, value in model.state_dict().items())


def whole(model, x, *, target=None):
    return x.sum()


BAD = {
    "method": ({"method": 3}, r"`method`: got int 3"),
    "whole": ({"method": whole}, r"`method`: got a tensor of shape \(\).* for 8 rows from 'whole'"),
    "complex": ({"method": lambda model, x, *, target=None: x * 1j}, "`method`: got .*complex64"),
    "unknown": ({"n_step": 4}, "`n_step`: got an argument that the method does not have"),
    "generator": ({"generator": torch.Generator()}, "`generator`: got .*Pass seed"),
    "held generator": (
        {"method": af.smooth(af.ig, generator=torch.Generator())},
        "`method`: got one that holds a generator of its own",
    ),
    "target": ({"target": "guess"}, "`target`: got 'guess'; expected 'label', 'predicted'"),
    "targets": ({"target": [0, 1] * 4}, r"`target`: got list .*columns=\{'x': 0, 'target': 1\}"),
    "tensor of targets": ({"target": torch.zeros(50, dtype=torch.long)}, r"`target`: got a tensor of shape \(50,\)"),
    "twice": ({"columns": {"x": 0, "target": 1}}, "`target`: got int 0, and a column"),
    "baselines of a batch": (
        {"method": af.ig, "baseline": torch.ones(8, 4)},
        r"`baseline`: got a tensor of shape \(8, 4\).*an entry for each of the 8 rows",
    ),
    "array": ({"data": np.ones((3, 4))}, r"`data`: got ndarray.*TensorDataset\(torch.from_numpy"),
    "frame": ({"data": pa.table({"a": [1.0]}).to_pandas()}, "`data`: got DataFrame.*to_numpy"),
    "score": ({"target": af.batch_score(torch.sum)}, "`target`: got a batch_score"),
    "predicted": ({"target": "predicted", "model": lambda x: x.sum(1)}, r"`target`: got 'predicted' for an output of"),
    "no target": ({"target": None}, "every row of the first shard failed: ArgumentError: .*target"),
    "batch": ({"batch_size": 0}, "`batch_size`: got int 0"),
    "shard": ({"shard_rows": 1.5}, "`shard_rows`: got float 1.5"),
    "form": ({"format": "csv"}, "`format`: got str 'csv'; expected 'auto' or 'parquet' or 'zarr'"),
    "on_error": ({"on_error": "stop"}, "`on_error`: got str 'stop'"),
    "gap": ({"gap": 3}, "`gap`: got int 3"),
    "gaps": ({"gap": lambda model, x, found: found}, r"`gap`: got a tensor of shape \(8, 4\).* for 8 rows"),
    "no rows at all": ({"data": [torch.ones(0, 4)]}, "`data`: got batches without rows"),
    "engine": ({"engine": "dask"}, "`engine`: got str 'dask'; expected None, 'ray', 'torchrun'"),
    "prepared": ({"prepare": lambda batch: (batch[0][:1], batch[1])}, "`prepare`: got a batch of 1 rows, made of 8"),
    "columns": ({"columns": ["x"]}, r"`columns`: got list \['x'\]; expected a dict"),
    "lacking": ({"columns": {"x": 2}}, r"`columns`: got the column 2 for 'x'.*The rows have the columns \[0, 1\]"),
    "kept": ({"columns": {"x": 0, "keep": ["score"]}}, "`columns`: got the column 'score' to keep"),
    "tensor": ({"data": torch.ones(3, 4)}, "`data`: got a tensor of shape"),
    "iterator": ({"data": iter([torch.ones(3, 4)])}, "`data`: got an iterator"),
    "nothing": ({"data": []}, "`data`: got no batch"),
    "no rows": ({"data": Pairs(0)}, "`data`: got no row"),
    "numbers": ({"data": [3]}, "`data`: got a batch that is int 3"),
    "shuffled": ({"data": DataLoader(Pairs(), shuffle=True)}, "`data`: got a DataLoader that shuffles"),
    "no files": ({"data": "nowhere"}, "`data`: got 'nowhere', which is not there"),
    "raises": ({"data": Pairs(unreadable={20}), "on_error": "raise"}, "row 20 failed: OSError: picture 20"),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_calls_that_cannot_be(bad, tmp_path):
    options, message = BAD[bad]
    given = {**OPTIONS, "method": af.saliency, "model": net(), "data": Pairs(), **options}
    with pytest.raises(af.ArgumentError, match=rf"attribute: argument .*{message}"):
        af.data.attribute(given.pop("method"), given.pop("model"), given.pop("data"), path=tmp_path / "s", **given)
    assert not list(tmp_path.rglob("*.parquet")) or bad == "raises"


@pytest.mark.parametrize("path", [5, "", b"store"])
def test_paths_that_are_none(path):
    with pytest.raises(af.ArgumentError, match=r"attribute: argument `path`: got .*the folder of a store"):
        run(path)


def test_missing_values_are_errors_of_their_rows_alone(tmp_path):
    x, labels = rows(16)
    inputs, classes = x.tolist(), labels.tolist()
    inputs[3], inputs[5][1], classes[7] = None, None, None
    names = [None if row % 4 == 0 else f"n{row}" for row in range(16)]
    pq.write_table(
        pa.table({"x": pa.array(inputs, pa.list_(pa.float32())), "y": classes, "name": names}),
        tmp_path / "a.parquet",
        row_group_size=3,
    )
    columns = {"x": "x", "label": "y", "keep": ["name"]}
    store = af.data.attribute(
        af.saliency,
        net(),
        tmp_path / "a.parquet",
        path=tmp_path / "s",
        columns=columns,
        **{**OPTIONS, "target": "label"},
    )
    assert set(store.errors()) == {3, 5, 7}
    right = [row for row in range(16) if row not in (3, 5, 7)]
    expected = af.saliency(net(), x[right], target=labels[right])
    np.testing.assert_allclose(store.numpy()[right], expected.numpy(), rtol=1e-5)
    assert [store[row]["label"] for row in (6, 7, 8)] == [0, None, 2]
    assert [store[row]["name"] for row in (4, 5)] == [None, "n5"]


def test_rows_that_lack_a_column(tmp_path):
    """By name, with what is like it; and a file of several that lacks it."""
    x = rows(8)[0]
    with pytest.raises(af.ArgumentError, match=r"`columns`: got the column 'imgae' for 'x'.*Near matches: 'image'"):
        af.data.attribute(af.saliency, net(), [{"image": x}], path=tmp_path / "s", columns={"x": "imgae"}, target=0)
    folder = tmp_path / "data"
    folder.mkdir()
    pq.write_table(pa.table({"image": x.tolist()}), folder / "a.parquet")
    pq.write_table(pa.table({"images": x.tolist()}), folder / "b.parquet")
    options = {"columns": {"x": "image"}, "target": 0, "progress": False}
    with pytest.raises(af.ArgumentError, match=r"`columns`: got the column 'image', which b.parquet lacks.*'images'"):
        af.data.attribute(af.saliency, net(), folder, path=tmp_path / "s", **options)
    (folder / "b.parquet").write_bytes(b"PAR1")
    with pytest.raises(af.ArgumentError, match=r"`data`: got .*b.parquet, which cannot be read"):
        af.data.attribute(af.saliency, net(), folder, path=tmp_path / "s", **options)
    later = [{"image": x}, {"other": x}]
    store = af.data.attribute(af.saliency, net(), later, path=tmp_path / "s", **options)
    assert set(store.errors()) == set(range(8, 16))
    assert "the column 'image' for 'x'" in store.errors()[8]


@pytest.mark.parametrize(
    ("missing", "extra", "options"),
    [("pyarrow", "data", {}), ("zarr", "data", {"format": "zarr"}), ("ray", "ray", {"engine": "ray"})],
)
def test_extras_that_are_not_installed(missing, extra, options, tmp_path, monkeypatch):
    from attrfunc.core import extras

    def without(name):
        if name.partition(".")[0] == missing:
            raise ImportError(name)
        return __import__("importlib").__import__(name)

    monkeypatch.setattr(extras.importlib, "import_module", without)
    with pytest.raises(af.ArgumentError, match=rf"without {missing} .*the extra: pip install 'attrfunc\[{extra}\]'"):
        run(tmp_path / "s", **options)
    assert not (tmp_path / "s" / "shards").exists() or missing == "ray"


def test_batches_of_every_source(tmp_path):
    x, labels = rows(10)
    data = [(x[:3], labels[:3]), (x[3:], labels[3:])]
    as_they_come = af.data.batches(data)
    assert [len(batch[0]) for _ in range(2) for batch in as_they_come] == [3, 7, 3, 7]
    assert [len(batch[0]) for batch in af.data.batches(Pairs(10), batch_size=4)] == [4, 4, 2]
    assert len(af.data.batches(Pairs(10), batch_size=4)) == 3
    with pytest.raises(TypeError, match="known when they have been passed over"):
        len(as_they_come)
    with pytest.raises(af.ArgumentError, match="batches: argument `data`: got row 5: OSError"):
        list(af.data.batches(Pairs(10, unreadable={5})))
    hits = lambda state, output, batch: (0 if state is None else state) + (output.argmax(1) == batch[1]).sum()
    options = {"input_roles": ("attribute", "ignore"), "reduce": hits}
    expected = af.dataset_ablation(net(), [(x, labels)], **options)
    found = af.dataset_ablation(net(), af.data.batches(Pairs(10), batch_size=4), **options)
    assert torch.equal(found[0], expected[0])
    from attrfunc.captum import attr

    explainer = attr.DataLoaderAttribution(attr.FeatureAblation(net()))
    shim = explainer.attribute(Pairs(10), input_roles=(0, 2), reduce=hits)
    assert torch.equal(shim[0].flatten(), expected[0])
