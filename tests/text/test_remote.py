"""Games of a model behind a real server, which is started here and serves a small model, well and badly."""

import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

import attrfunc as af
import language_models as tiny
from attrfunc.text import completions, explain, game, remote_game, segments

TOKENIZER = tiny.byte_level()
PARTS = segments(TOKENIZER, "The capital of Italy is", by="word")
TARGET = " Rome. The"
EVERY = torch.cartesian_prod(*[torch.tensor([False, True])] * len(PARTS))
LOCK = threading.Lock()


class Server(BaseHTTPRequestHandler):
    seen, busy, most_at_once, at_once = Counter(), {}, 0, 0

    def log_message(self, *args):
        pass

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        kind = asked.get("model")
        with LOCK:
            Server.seen[kind] += 1
            Server.at_once += 1
            Server.most_at_once = max(Server.most_at_once, Server.at_once)
            number = Server.seen[kind]
        try:
            self.answer(kind, asked, number)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the other side gave up
        finally:
            with LOCK:
                Server.at_once -= 1

    def answer(self, kind, asked, number):
        if kind == "silent":
            time.sleep(3)
        if kind == "closes":
            return self.connection.close()
        if kind == "down" or (kind == "flaky" and number % 3):
            return self.send(503, {"error": "loading"})
        if kind == "key":
            return self.send(
                *((401, {"error": "no key"}) if "Authorization" not in self.headers else (200, self.scored(asked)))
            )
        if kind == "garbage":
            return self.send(200, None)
        if kind == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices": [')
            return None
        found = self.scored(asked)
        if kind == "partial":
            found["choices"].pop()
        if kind == "no logprobs":
            found["choices"][0]["logprobs"] = None
        if kind == "no offsets":
            for choice in found["choices"]:
                del choice["logprobs"]["text_offset"]
        if kind == "uneven" and number % 2:
            held = found["choices"][0]["logprobs"]
            held["text_offset"] = [*held["text_offset"][:-1], 10**6]
        return self.send(200, found)

    def scored(self, asked):
        """What OpenAI's interface gives with `echo`: log-probabilities of all tokens but the first."""
        choices = []
        for index, text in enumerate(asked["prompt"]):
            read = TOKENIZER(text, return_offsets_mapping=True)
            ids = torch.tensor([read["input_ids"]])
            logs = tiny.llama()(ids).logits[0].log_softmax(-1)
            numbers = [None, *logs[:-1].gather(1, ids[0, 1:, None])[:, 0].tolist()]
            tokens = [text[a:b] for a, b in read["offset_mapping"]]
            starts = [a for a, _ in read["offset_mapping"]]
            held = {"tokens": tokens, "token_logprobs": numbers, "text_offset": starts}
            choices.append({"index": index, "text": text, "logprobs": held})
        return {"choices": choices[::-1]}

    def send(self, code, body):
        data = b"<html>" if body is None else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture(scope="module")
def url():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/"
    server.shutdown()
    server.server_close()


def play(url, kind, **options):
    names = {"key", "timeout", "total"}
    inner = {name: options.pop(name) for name in names & set(options)}
    return remote_game(completions(url, kind, **inner), PARTS, TARGET, **options)


@pytest.mark.parametrize("options", [{}, {"workers": 1}, {"batch_size": 5}], ids=str)
def test_it_is_the_game_of_the_model(url, options):
    local = game(tiny.llama(), PARTS, TARGET, absent="render")
    says = play(url, "good", **options)
    assert torch.allclose(says(EVERY).float(), local(EVERY), atol=1e-4)
    assert says.evaluations == 16
    Server.seen.clear()
    one, other = (explain(af.shapley_values, model, PARTS) for model in (says, local))
    assert torch.allclose(one.values, other.values, atol=1e-4)
    assert one.answer == TARGET
    assert not Server.seen  # all of which was known


def test_requests_go_out_together(url):
    Server.most_at_once = 0
    play(url, "good", workers=4)(EVERY)
    assert 2 <= Server.most_at_once <= 4


def test_offsets_may_be_missing_and_keys_are_sent(url):
    expected = play(url, "good")(EVERY)
    assert torch.equal(play(url, "no offsets")(EVERY), expected)
    assert torch.equal(play(url, "key", key="secret")(EVERY), expected)
    assert torch.allclose(play(url, "good", total=True)(EVERY)[:, 0], expected.sum(1))


def test_busy_servers_are_asked_again(url, monkeypatch):
    monkeypatch.setattr(af.text.remote, "FIRST_PAUSE", 0.01)
    Server.seen.clear()
    assert torch.equal(play(url, "flaky", workers=1)(EVERY), play(url, "good")(EVERY))
    assert Server.seen["flaky"] == 48


BAD = {
    "down": ("down", {}, "did not answer after 2 tries: ConnectionError: 503.*raise `timeout` and `retries`"),
    "silent": ("silent", {"timeout": 0.2}, "did not answer after 2 tries: TimeoutError"),
    "closed": ("closes", {}, "did not answer after 2 tries"),
    "refused": ("key", {}, "refused the request: 401 .*It says: .*no key"),
    "garbage": ("garbage", {}, "gave no JSON"),
    "cut": ("cut", {}, "did not answer after 2 tries: ConnectionError: the answer broke off"),
    "partial": ("partial", {"batch_size": 2}, "gave 1 choices for 2 prompts. Take batch_size=1"),
    "no logprobs": ("no logprobs", {}, "no log-probabilities of the prompt. .*a score_many of your own"),
    "uneven": ("uneven", {"workers": 1}, "the server reads it as other tokens there.*total=True"),
}


@pytest.mark.parametrize(("kind", "options", "message"), BAD.values(), ids=BAD)
def test_bad_servers(url, monkeypatch, kind, options, message):
    monkeypatch.setattr(af.text.remote, "FIRST_PAUSE", 0.01)
    begin = time.monotonic()
    with pytest.raises(af.ModelError, match=f"(?s){message}"):
        play(url, kind, retries=1, **options)(EVERY)
    assert time.monotonic() - begin < 5


def test_nobody_listens():
    says = remote_game(completions("http://127.0.0.1:9/v1"), PARTS, TARGET, retries=0)
    with pytest.raises(af.ModelError, match="did not answer after 1 tries: URLError"):
        says(EVERY)


def test_any_number():
    """No log-probabilities: how much the words of what is left are like the answer."""
    calls = []

    def overlap(prompts, target):
        calls.append(len(prompts))
        return [float("Italy" in prompt) + 0.5 * ("capital" in prompt) for prompt in prompts]

    says = remote_game(overlap, PARTS, "Rome", batch_size=4, unit="points")
    found = explain(af.shapley_values, says, PARTS)
    assert torch.allclose(found.sequence, torch.tensor([0.0, 0.5, 0.0, 1.0]).double())
    assert found.outputs == ("Rome",)
    assert found.unit == "points"
    assert sum(calls) == 16
    texts = remote_game(
        lambda prompts, target: [len(prompt) for prompt in prompts], PARTS, "x", absent=["", "?", "", ""]
    )
    assert texts(~texts.full).item() == len(" ?   is")
    made = remote_game(
        lambda prompts, target: list(map(len, prompts)), PARTS, "x", absent=lambda mask: "a" * int(mask.sum())
    )
    assert made(EVERY)[:, 0].tolist() == EVERY.sum(1).tolist()


def never(prompts, target):
    time.sleep(30)


def raises(prompts, target):
    raise KeyError("answer")


SCORES = {
    "hangs": (never, {"timeout": 0.2, "retries": 0}, "a request took more than 0.2 seconds"),
    "raises": (raises, {}, "score_many raised KeyError: 'answer'. Call it by itself"),
    "few": (lambda prompts, target: [], {}, "gave 0 answers to 1 prompts"),
    "none": (lambda prompts, target: None, {}, "gave NoneType None; expected one number"),
    "texts": (lambda prompts, target: ["a"], {}, "expected one number"),
    "nan": (lambda prompts, target: [float("nan")], {}, "expected finite numbers"),
    "empty": (lambda prompts, target: [[]], {}, "expected finite numbers"),
}


@pytest.mark.parametrize(("score", "options", "message"), SCORES.values(), ids=SCORES)
def test_bad_scores(score, options, message):
    begin = time.monotonic()
    with pytest.raises(af.ModelError, match=message):
        remote_game(score, PARTS, TARGET, **options)(EVERY)
    assert time.monotonic() - begin < 5


WRONG = {
    "no function": (lambda: remote_game("http://x", PARTS, "a"), "remote_game: argument `score_many`"),
    "segments": (lambda: remote_game(never, "x", "a"), "`segments`"),
    "target": (lambda: remote_game(never, PARTS, ""), "`target`"),
    "workers": (lambda: remote_game(never, PARTS, "a", workers=0), "`workers`"),
    "timeout": (lambda: remote_game(never, PARTS, "a", timeout=0), "`timeout`"),
    "retries": (lambda: remote_game(never, PARTS, "a", retries=-1), "`retries`"),
    "absent": (lambda: remote_game(never, PARTS, "a", absent=0), "`absent`: .*A server reads text"),
    "url": (lambda: completions("localhost"), "`url`: .*http://"),
    "rendered": (lambda: remote_game(raises, PARTS, "a", absent=lambda mask: 3)(EVERY), "one that gives a text"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_errors(call, message):
    with pytest.raises(af.ArgumentError, match=message):
        call()


def test_an_answer_that_joins_the_prompt(url):
    parts = segments(TOKENIZER, "The capital of Italy is ", by="word", fixed=None)
    with pytest.raises(af.ModelError, match="together with the end of the prompt"):
        remote_game(completions(url, "good"), parts, "Rome")(parts.full)
