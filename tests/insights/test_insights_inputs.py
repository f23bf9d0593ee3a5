"""What users give: pictures, texts, rows and data sets, and what is refused."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image as Pictures
from studio_nets import pictures, rows, several, texts

import attrfunc as af
from attrfunc.insights.predictions import Filter, Prediction, kept, predictions
from attrfunc.insights.task import examples_of
from attrfunc.insights.uploads import decoded


def saved(picture, kind="PNG", **options):
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def header_of(width, height):
    """A PNG that says how large it is, and holds nothing."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


SHADE = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (saved(Pictures.fromarray(SHADE)), SHADE),
        (saved(Pictures.fromarray(SHADE), "GIF"), SHADE),
        (saved(Pictures.fromarray(SHADE), "TIFF"), SHADE),
        (saved(Pictures.fromarray(SHADE.astype(np.uint16) * 257)), SHADE),  # sixteen bits
        (saved(Pictures.fromarray(SHADE.astype(np.float32)), "TIFF"), (SHADE / SHADE.max() * 255).round()),
        (saved(Pictures.fromarray(np.stack([SHADE] * 3 + [SHADE * 0], -1), "RGBA")), 0 * SHADE + 255),  # all clear
        (saved(Pictures.fromarray(np.stack([SHADE, SHADE * 0], -1), "LA")), 0 * SHADE + 255),
        (saved(Pictures.fromarray((255 - np.stack([SHADE] * 3 + [0 * SHADE + 255], -1)), "CMYK"), "TIFF"), SHADE),
        (saved(Pictures.fromarray(SHADE > 90)), 255 * (SHADE > 90)),
        (saved(Pictures.fromarray(SHADE).quantize(64)), SHADE),  # a palette
    ],
    ids=["grey", "gif", "tiff", "sixteen", "float", "clear", "clear grey", "cmyk", "bits", "palette"],
)
def test_pictures_of_every_kind_are_red_green_and_blue(data, expected):
    found = np.asarray(decoded(data))
    assert found.shape == (8, 8, 3)
    np.testing.assert_allclose(found[..., 0], expected, atol=1)


def test_a_picture_is_turned_as_the_camera_says():
    data = Pictures.Exif()
    data[0x0112] = 6  # turn it to the right
    wide = Pictures.fromarray(np.zeros((4, 8, 3), np.uint8))
    assert decoded(saved(wide, "JPEG", exif=data)).size == (4, 8)


def test_the_first_frame_is_taken():
    frames = [Pictures.fromarray(SHADE * 0 + shade) for shade in (0, 250)]
    assert np.asarray(decoded(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))).max() < 5


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "an empty file"),
        (b"hello, I am a text", "which is no picture; expected a picture: PNG, JPEG"),
        (b"\x80\x04\x95cos\nsystem\n.", "which is no picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "which is no picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "which is no picture"),
        (header_of(20_000, 20_000), "of 400 million pixels; expected at most 50 million"),
        (header_of(8000, 8000), "of 8000 x 8000 pixels; expected at most 50 million"),
        (header_of(8, 8), "a damaged picture"),
        (saved(Pictures.fromarray(SHADE))[:45], "a damaged picture|no picture"),
        (bytes(21 * 2**20), "of 21 MiB; expected at most 20 MiB"),
    ],
    ids=["empty", "text", "pickle", "svg", "eps", "large", "larger", "hollow", "cut", "heavy"],
)
def test_what_is_no_picture_is_refused(data, told):
    with pytest.raises(af.ArgumentError, match=told):
        decoded(data, "<b>x</b>.png")


def test_a_large_jpeg_is_read_at_a_part_of_its_size():
    large = Pictures.new("L", (9000, 6000), 99)  # 54 million pixels
    found = decoded(saved(large, "JPEG"))
    assert found.size[0] * found.size[1] <= 2_000_000
    assert np.asarray(found).mean() == pytest.approx(99, abs=1)


def test_images_become_what_the_model_takes():
    image = af.insights.Image((4, 6), mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.25))
    shades = np.full((40, 60, 3), 255, np.uint8)
    x = image.read(shades)
    torch.testing.assert_close(x[0, :, 0, 0], torch.tensor([1.8, 1.6, 2.8]))
    assert x.shape == (1, 3, 4, 6)
    torch.testing.assert_close(image.photo(x), torch.ones(3, 4, 6))
    assert torch.equal(image.read(saved(Pictures.fromarray(shades))), x)
    assert torch.equal(image.read(Pictures.fromarray(shades)), x)
    assert torch.equal(image.read(x[0]), x)
    assert af.insights.Image((4, 4), channels=1).read(shades).shape == (1, 1, 4, 4)
    assert af.insights.Image(None).read(np.zeros((2000, 1000, 3), np.uint8)).shape == (1, 3, 512, 256)
    for wrong in (
        "a text that is no path/",
        5,
        None,
        np.zeros((2, 2)),
        torch.zeros(4, 4),
        np.zeros((2, 2, 7), np.uint8),
    ):
        with pytest.raises(af.ArgumentError):
            image.read(wrong)


def test_texts_and_rows_that_cannot_be_read():
    text, table = texts().inputs[0], rows().inputs[0]
    assert text.read("to be").tolist() == [[0, 3, 3]]
    assert table.read("age = 50\n\n dose=2\nweight = 85").tolist() == [[1.0, 2.0, 1.0]]
    assert table.read(table.lines(table.read([30, 1.5, 80]))).tolist() == table.read([30, 1.5, 80]).tolist()
    for one, value, told in [
        (text, " \n", "a text of at least one word"),
        (text, None, "a text of at least one word"),
        (text, "word " * 40, "a text of 41 tokens; expected at most 40"),
        (text, torch.zeros(3), "numbers of tokens"),
        (table, "age = 50\ndose = 2", "a row without 'weight'"),
        (table, "age = 50\ndose = 2\nweight = heavy", "numbers"),
        (table, "age = 50\ndose = 2\nweight = nan", "not finite"),
        (table, "<img src=x onerror=alert(1)> = 3", "a column of the table"),
        (table, [1, 2], "2 numbers; expected 3"),
        (table, torch.zeros(4), r"a tensor \(3,\)"),
    ]:
        with pytest.raises(af.ArgumentError, match=told):
            one.read(value)


def test_data_sets_are_read_as_they_come():
    task = pictures()
    found = examples_of(task)
    assert [one.label for one in found[:5]] == [0, 1, 2, None, 1]
    assert examples_of(pictures(data=iter(task.data), limit=5))[4].name == "4"
    mapped = [{"x": torch.zeros(3, 16, 16), "label": np.int64(2), "name": "black"}]
    assert examples_of(pictures(data=mapped))[0].name == "black"
    assert (
        examples_of(pictures(data=torch.utils.data.TensorDataset(torch.rand(3, 3, 16, 16), torch.arange(3))))[2].label
        == 2
    )
    assert examples_of(pictures(data=[torch.zeros(3, 16, 16)]))[0].label is None
    assert len(examples_of(several())[0].x) == 2
    with pytest.raises(af.ArgumentError, match=r"row 1 of the data of 'pictures': argument `picture`"):
        examples_of(pictures(data=[torch.zeros(3, 16, 16), torch.zeros(5)]))
    with pytest.raises(af.ArgumentError, match="label"):
        examples_of(pictures(data=[(torch.zeros(3, 16, 16), "cat")]))


def test_filters():
    task = pictures()
    examples = examples_of(task)
    said = [Prediction(torch.tensor(shares), False) for shares in ([0.9, 0.1, 0.0], [0.4, 0.3, 0.3], [0.1, 0.0, 0.9])]
    said += [Prediction(torch.tensor([0.0, 1.0, 0.0]), False)]
    listed = lambda **options: kept(examples[:4], said, Filter(**options))  # labels 0, 1, 2, none
    assert listed() == [0, 1, 2, 3]
    assert listed(right="right") == [0, 2]
    assert listed(right="wrong") == [1]
    assert listed(label=2) == [2]
    assert listed(label=2, right="wrong") == []
    assert listed(uncertain=True) == [1, 0, 2, 3]
    assert Prediction(torch.tensor([torch.nan, 0.5]), False).uncertainty == float("inf")
    assert Prediction(torch.tensor([torch.nan, 0.5]), False).best == 1
    assert Prediction(torch.tensor([0.7]), True).best == 1


def test_predictions_are_those_of_the_model():
    task = pictures()
    examples = examples_of(task)
    heard = []
    found = predictions(task, "two", examples * 3, lambda done, total: heard.append((done, total)))
    x = torch.cat([one.x[0] for one in examples * 3])
    expected = task.models["two"](x).detach().softmax(1)
    torch.testing.assert_close(torch.stack([one.probabilities for one in found]), expected)
    assert heard == [(16, 36), (32, 36), (36, 36)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (({},), "inputs"),
        ((torch.nn.Linear(3, 2),), r"launch: argument `inputs`: got None"),
        (([],), "inputs"),
        (([pictures(), pictures()],), "two tasks of one name"),
    ],
)
def test_what_cannot_be_launched(arguments, told):
    with pytest.raises(af.ArgumentError, match=told):
        af.insights.launch(*arguments)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: af.insights.Image(size=(0, 8)), "`size`: got int 0"),
        (lambda: af.insights.Image(size=8), "`size`: got int 8; expected height and width"),
        (lambda: af.insights.Image(std=(0.5, 0.0, 0.5)), "`std`: .*other than zero"),
        (lambda: af.insights.Image(mean=(0.5, 0.5)), "`mean`: .*a number, or 3 of them"),
        (lambda: af.insights.Image(channels=2), "`channels`: got int 2"),
        (lambda: af.insights.Table(("a", "a")), "`columns`: .*each once"),
        (lambda: af.insights.Table(("a",), std=0), "`std`"),
        (lambda: af.insights.launch(torch.nn.Linear(1, 1), inputs=5), "descriptions of inputs"),
        (
            lambda: af.insights.launch(pictures(), host="203.0.113.9"),
            "launch: argument `host`: .*an address of this machine",
        ),
        (lambda: af.insights.launch(pictures(), port=70_000), "launch: argument `port`: got int 70000"),
    ],
)
def test_what_inputs_and_addresses_cannot_be(make, told):
    with pytest.raises(af.ArgumentError, match=told):
        make()


def test_what_a_task_cannot_be():
    with pytest.raises(af.ArgumentError, match="models by name"):
        af.insights.Task("t", {}, af.insights.Table(("a",)))
    with pytest.raises(af.ArgumentError, match="descriptions of inputs"):
        af.insights.Task("t", {"m": torch.nn.Linear(1, 1)}, ("a",))
    with pytest.raises(af.ArgumentError, match="tasks alone"):
        af.insights.launch(pictures(), classes=["a"])
    with pytest.raises(af.ArgumentError, match="seconds"):
        af.insights.launch(pictures(), seconds=0)
