"""A real server of Gradio's, asked over HTTP as browsers do."""

import re
import sys
import threading
import time
import warnings

import numpy as np
import pytest
import torch
from PIL import Image as Pictures
from studio_nets import picture_net, pictures, rows, texts

import attrfunc as af
from attrfunc.insights.jobs import Job, Stopped

HOSTILE = "<img src=x onerror=alert(1)>"


class Slow(torch.nn.Module):
    """A network that takes its time when a gate is shut."""

    def __init__(self):
        super().__init__()
        self.net, self.gate = picture_net(), [0.0]

    def forward(self, x):
        time.sleep(self.gate[0])
        return self.net(x)


@pytest.fixture(scope="module")
def page():
    slow = Slow().eval()
    first = pictures(models={"one": picture_net(), "slow": slow}, classes=[HOSTILE, "b", "c"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Gradio leaves an event loop open
        warnings.simplefilter("ignore", DeprecationWarning)
        with af.insights.launch([first, texts(), rows()], seconds=60.0) as page:
            page.slow = slow
            yield page


@pytest.fixture
def client(page):
    from gradio_client import Client

    one = Client(page.url, verbose=False, analytics_enabled=False)
    yield one
    one.close()


class User:
    """What a browser would send: the fields of the page as they stand, with some filled in otherwise."""

    def __init__(self, page, client):
        self.page, self.client = page, client

    def fields(self, name):
        function = next(one for one in self.page._blocks.fns.values() if one.api_name == name)
        return [one for one in function.inputs if type(one).__name__ != "State"]

    def send(self, name, *given, **filled):
        values = list(given) or [filled.pop(one.label, one.value) for one in self.fields(name)]
        assert not filled, f"{list(filled)} are no fields"
        return self.client.predict(*values, api_name=f"/{name}")

    def explain(self, tab=0, **filled):
        """Status, pictures, exports and code."""
        if "Method" in filled:
            # As the browser does: the fields of options become those of the method.
            changed = self.send(f"method_{tab}", filled["Method"])[1:]
            fields = [one.label for one in self.fields(f"explain_{tab}")][-len(changed) :]
            values = [one.value for one in self.fields(f"explain_{tab}")][: -len(changed)]
            names = [one.label for one in self.fields(f"explain_{tab}")][: -len(changed)]
            values = [filled.pop(name, value) for name, value in zip(names, values, strict=True)]
            values += [
                filled.pop(one.get("label", name), one.get("value")) for name, one in zip(fields, changed, strict=True)
            ]
            assert not filled, f"{list(filled)} are no fields"
            return self.send(f"explain_{tab}", *values)
        return self.send(f"explain_{tab}", **filled)


@pytest.fixture
def user(page, client):
    return User(page, client)


def upload(tmp_path, data, name="picture.png"):
    from gradio_client import handle_file

    path = tmp_path / name
    path.write_bytes(data)
    return handle_file(str(path))


def drawn(page, tab, x, model, method, **options):
    """The picture that the library draws."""
    task = page.tasks[tab]
    return af.insights.explain(task, af.insights.Request(model, x, method, **options)).drawn[0]


def test_explains_an_uploaded_picture_as_the_library_does(page, user, tmp_path):
    shade = np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    path = tmp_path / "shade.png"
    Pictures.fromarray(shade).save(path)
    said = user.send("use_0", "one", upload(tmp_path, path.read_bytes()))
    x = page.tasks[0].read([shade])
    best = int(page.tasks[0].models["one"](x[0]).argmax())
    assert said[0]["value"] == best
    status, shown, exports, code = user.explain(Method="saliency")
    assert "Done." in status
    assert drawn(page, 0, x, "one", "saliency").html in shown
    assert "af.saliency(" in code
    assert exports.count("download=") == 4
    user.send("target_0", (best + 1) % 3)
    _, shown, _, _ = user.explain(Method="saliency", Layer="0", **{"Compare with": "slow"})
    assert drawn(page, 0, x, "one", "saliency", target=(best + 1) % 3, layer="0").html in shown
    assert shown.count("<figure") == 2


def test_names_of_classes_are_text(page, user, tmp_path):
    user.send("list_0", "one", -1, "all", False)
    user.send("use_0", "one", upload(tmp_path, saved_grey(tmp_path)))
    user.send("target_0", 0)
    _, shown, exports, _ = user.explain(Method="saliency")
    assert HOSTILE not in shown + exports
    assert "&lt;img src=x onerror=alert(1)&gt;" in shown
    assert "<img src=x" not in shown


@pytest.mark.parametrize(
    ("data", "name", "told"),
    [
        (b"not a picture", "<b>cat</b>.png", "which is no picture"),
        (b"", "empty.png", "an empty file"),
        (b"GIF89a", "short.gif", "picture"),
        (b"\x80\x04.", "../../model.pt", "which is no picture"),
    ],
)
def test_an_upload_that_is_no_picture_is_told(user, tmp_path, data, name, told):
    user.send("use_0", "one", upload(tmp_path, saved_grey(tmp_path)))  # which must not be explained in its place
    said = user.send("use_0", "one", upload(tmp_path, data, name.rpartition("/")[2]))
    assert told in said[-1]
    assert "<b>" not in said[-1]
    status, shown, exports, _ = user.explain()
    assert told in status
    assert not shown + exports


def test_an_upload_that_is_too_large_does_not_get_in(page):
    import httpx

    files = {"files": ("large.png", bytes(21 * 2**20), "image/png")}
    reply = httpx.post(f"{page.url}gradio_api/upload", files=files, timeout=30)
    assert reply.status_code == 413


def test_texts_and_rows(page, user):
    user.send("list_1", "reader", -1, "all", False)
    said = user.send("pick_1", "reader", 0)
    assert said[-1] == " w3 w3 w3 w4 w3 w3"
    status, shown, _, code = user.explain(1, Method="feature_ablation")
    assert "Done." in status
    assert "af.viz.tokens(" in code
    user.send("use_2", "net", "age = 44\ndose = 2\nweight = 61")
    _, shown, _, _ = user.explain(2, Method="shapley_values")
    assert drawn(page, 2, page.tasks[2].read([[44, 2, 61]]), "net", "shapley_values").html in shown


def test_filters_and_what_is_listed(page, user):
    listed = user.send("list_1", "reader", 1, "all", False)
    assert "1 of 2 examples" in listed[-1]
    right = user.send("list_0", "one", -1, "right", True)
    wrong = user.send("list_0", "one", -1, "wrong", True)
    count = lambda told: int(told[-1].partition(">")[2].split()[0])
    assert count(right) + count(wrong) == 11  # one of twelve has no label


def test_an_error_is_shown_as_the_library_words_it(user, tmp_path):
    user.send("use_2", "net", "age = 44\ndose = 2\nweight = 61")
    _, shown, _, code = user.explain(2, n_steps="0")
    assert "integrated_gradients: argument <code>n_steps</code>: got int 0" in shown
    assert 'role="alert"' in shown
    assert not code
    status, shown, _, _ = user.explain(2, Seed="some")
    assert "argument <code>seed</code>: got &#x27;some&#x27;; expected a whole number, or nothing" in status
    _, shown, _, _ = user.explain(2, Layer="1", **{"Compare with": "linear"})
    assert "<figure" in shown  # the first is drawn, and the second has no such layer
    assert "got &#x27;1&#x27;; expected the name of a layer" in shown


def test_a_request_that_takes_too_long_ends(page, user, tmp_path, monkeypatch):
    user.send("use_0", "slow", upload(tmp_path, saved_grey(tmp_path)))
    monkeypatch.setattr(page._studio, "seconds", 1.0)
    page.slow.gate[0] = 0.8
    started = time.monotonic()
    _, shown, _, _ = user.explain(Model="slow", Method="integrated_gradients", n_steps="300")
    page.slow.gate[0] = 0.0
    assert "It took longer than 1 seconds, which is the limit of this page" in shown
    assert time.monotonic() - started < 10


def saved_grey(tmp_path):
    Pictures.new("RGB", (16, 16), "grey").save(tmp_path / "grey.png")
    return (tmp_path / "grey.png").read_bytes()


def test_two_users_at_once_do_not_see_each_other(page, tmp_path):
    from gradio_client import Client

    clients = [Client(page.url, verbose=False, analytics_enabled=False) for _ in range(2)]
    users = [User(page, one) for one in clients]
    lines = ["age = 44\ndose = 2\nweight = 61", "age = 20\ndose = 0\nweight = 90"]
    found = {}

    def work(number):
        for _ in range(3):
            users[number].send("use_2", "net", lines[number])
            found[number] = users[number].explain(2, Method="integrated_gradients")[1]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(2):
        x = page.tasks[2].read([lines[number]])
        assert drawn(page, 2, x, "net", "integrated_gradients").html in found[number]
        clients[number].close()


def test_it_listens_to_this_machine_and_loads_nothing_from_elsewhere(page):
    import httpx

    assert page.url.startswith("http://127.0.0.1:")
    config = httpx.get(f"{page.url}config").json()
    assert not config["analytics_enabled"]
    styles = httpx.get(f"{page.url}theme.css").text
    assert not re.search(r"url\(.?http|@import|googleapis", styles)
    assert page._blocks.share is False


def test_files_of_the_machine_are_not_served(page):
    import httpx

    for path in ("/etc/passwd", __file__, "../../../etc/passwd"):
        assert httpx.get(f"{page.url}gradio_api/file={path}").status_code in (403, 404)
    # Nor are they taken for an upload, which the client of the library would make of them.
    call = f"{page.url}gradio_api/call/use_0"
    given = {"path": __file__, "meta": {"_type": "gradio.FileData"}}
    event = httpx.post(call, json={"data": ["one", given]}).json()["event_id"]
    with httpx.stream("GET", f"{call}/{event}", timeout=60) as reply:
        told = "".join(reply.iter_text())
    assert "event: error" in told
    assert "picture" not in told


def test_jobs():
    slots = threading.BoundedSemaphore(1)
    job = Job(lambda report: [report(1, 2), "done"][1], seconds=5, slots=slots)
    list(job.watch())
    assert job.result() == "done"
    assert job.progress == (1, 2)

    def endless(report):
        while True:
            report(1, 10)
            time.sleep(0.01)

    job = Job(endless, seconds=0.3, slots=slots)
    with pytest.raises(TimeoutError):
        list(job.watch())
    job = Job(endless, seconds=9, slots=slots)
    watch = job.watch()
    next(watch)
    job.stop()
    with pytest.raises(Stopped):
        list(watch)
    called = []

    def silent(report):
        while True:
            called.append(time.sleep(0.01))

    job = Job(silent, seconds=0.3, slots=slots)  # which never reports
    with pytest.raises(TimeoutError):
        list(job.watch())
    time.sleep(0.3)
    count = len(called)
    time.sleep(0.2)
    assert len(called) == count
    failing = Job(lambda report: 1 / 0, seconds=9, slots=slots)
    list(failing.watch())
    with pytest.raises(ZeroDivisionError):
        failing.result()
    leaving = Job(lambda report: sys.exit(3), seconds=9, slots=slots)  # which must not end the server
    list(leaving.watch())
    with pytest.raises(RuntimeError, match="the model raised SystemExit"):
        leaving.result()
    assert slots.acquire(timeout=2)  # all have given it back
    waiting = Job(lambda report: None, seconds=0.3, slots=slots)
    with pytest.raises(TimeoutError):
        list(waiting.watch())
    assert waiting.waiting


def test_a_port_that_is_taken_is_told(page):
    port = int(page.url.rstrip("/").rpartition(":")[2])
    with pytest.raises(af.ArgumentError, match=f"launch: argument `port`: got {port}"):
        af.insights.launch(rows(), port=port)


def test_without_gradio_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(af.AttributionError, match=r"gradio is not installed.*attrfunc\[insights\]"):
        af.insights.launch(rows())
