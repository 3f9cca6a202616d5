"""An endpoint that answers well, badly, late or not at all, played by a real server."""

import gzip
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable
from email.utils import formatdate
from itertools import chain, pairwise, repeat
from typing import Any

import pytest
from requests import Response

from llm_bridge.judging import endpoint
from llm_bridge.judging.endpoint import LONGEST_REPLY, MOST_AT_FIRST, MOST_IN_VAIN, Endpoint, wait_of
from llm_bridge.judging.rubrics import REFUSED, Asked, Score, write_prompt

SECRET = "sk-a-key-that-nobody-may-see"


def scores(judge: Endpoint, asked: list[Asked]) -> list[Score]:
    found = dict(judge(asked))
    assert sorted(found) == list(range(len(asked)))
    return [found[place] for place in range(len(asked))]


def test_each_score_comes_back_at_the_place_of_its_answer(server, asked, reply):
    replies = {str(number): str(number) for number in range(0, 100, 7)} | {"no": f"{REFUSED}."}
    things = [asked(answer=answer) for answer in replies]
    by_prompt = {write_prompt(thing): text for thing, text in zip(things, replies.values(), strict=True)}
    server.script = lambda prompt, _: reply(by_prompt[prompt])
    assert scores(server.judge(), things) == [*range(0, 100, 7), REFUSED]
    assert {request.path for request in server.requests} == {"/v1/chat/completions"}
    for request in server.requests:
        assert request.body["model"] == "some-judge"
        assert request.body["temperature"] == 0
        assert "Authorization" not in request.headers


def test_a_refusal_is_no_coherence(server, asked, reply):
    server.script = lambda *_: reply(REFUSED)
    assert scores(server.judge(num_retries=0), [asked(), asked(rubric=1)]) == [REFUSED, None]


@pytest.mark.parametrize("at_a_time", [1, 4])
def test_as_many_requests_are_under_way_as_was_asked_for(server, asked, reply, at_a_time):
    under_way, most, full = [], [], threading.Event()

    def meet(prompt: str, before: int) -> Any:
        under_way.append(prompt)
        most.append(len(under_way))
        if max(most) >= at_a_time:
            full.set()
        assert full.wait(10)
        time.sleep(0.02)
        under_way.remove(prompt)
        return reply("1")

    server.script = meet
    assert scores(server.judge(num_requests=at_a_time), [asked(answer=str(each)) for each in range(9)]) == [1] * 9
    assert max(most) == at_a_time


FAILURES: dict[str, tuple[str, Callable[..., Any]]] = {
    "too many": ("status 429", lambda play, reply: play(429)),
    "server error": ("status 500", lambda play, reply: play(500)),
    "overloaded": ("status 529", lambda play, reply: play(529, b"{}")),
    "hang": ("timeout", lambda play, reply: play(hangs=True)),
    "nonsense": ("no score in the reply", lambda play, reply: reply("I'd say 70 or 80")),
    "no text": ("no chat completion in the reply", lambda play, reply: reply(None)),
    "a number": ("no chat completion in the reply", lambda play, reply: reply(70)),
    "invalid JSON": ("no chat completion in the reply", lambda play, reply: play(content=b'{"choices": [')),
    "missing fields": ("no chat completion in the reply", lambda play, reply: play(content=b'{"choices": []}')),
    "other fields": ("no chat completion in the reply", lambda play, reply: play(content=b'["70"]')),
    "not UTF-8": ("no chat completion in the reply", lambda play, reply: play(content=b"\xff\xfe\xff")),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_may_pass_is_asked_again_as_often_as_allowed_and_is_unjudged_then(server, asked, reply, play, name):
    reason, fail = FAILURES[name]
    timeout = 0.4 if name == "hang" else 10
    server.script = lambda _, before: fail(play, reply) if before < 2 else reply("70")
    judge = server.judge(num_retries=2, timeout=timeout)
    assert scores(judge, [asked()]) == [70]
    assert not judge.failures
    assert len(server.requests) == 3
    server.requests.clear()
    judge = server.judge(num_retries=1, timeout=timeout)
    assert scores(judge, [asked()]) == [None]
    assert judge.failures == {reason: 1}
    assert len(server.requests) == 2


def test_a_connection_that_is_lost_is_made_again(server, asked, reply, play):
    server.script = lambda prompt, before: play(drops=True) if "lost" in prompt and before < 2 else reply("70")
    things = [asked(), asked(answer="lost")]
    assert scores(server.judge(num_requests=1, num_retries=2), things) == [70, 70]
    server.requests.clear()
    judge = server.judge(num_requests=1, num_retries=1)
    assert scores(judge, things) == [70, None]
    assert judge.failures == {"connection lost": 1}


@pytest.mark.parametrize(
    ("name", "again"), [("hang", 0), ("hang", 1), ("too many", 1), ("server error", 1), ("overloaded", 0)]
)
def test_an_endpoint_that_never_judges_is_given_up_soon_in_one_line(server, asked, reply, play, refusal, name, again):
    reason, fail = FAILURES[name]
    server.script = lambda *_: fail(play, reply)
    judge = server.judge(num_requests=2, num_retries=again, timeout=0.3 if name == "hang" else 10)
    message = refusal(scores, judge, [asked(answer=str(each)) for each in range(100)])
    assert message.startswith(
        f"{server.url} left {MOST_IN_VAIN} answers in a row unjudged (last: {reason}): check --judge"
    )
    assert "what is judged is kept" in message
    assert len(server.requests) < 50


@pytest.mark.parametrize(
    ("pattern", "given_up"),
    [
        ("fg" * 20, False),
        ("n" * MOST_AT_FIRST, False),
        ("n" * (MOST_AT_FIRST + 1), True),
        ("n" * (MOST_AT_FIRST - 1) + "gn" + "n" * MOST_AT_FIRST, False),
        ("r" * 40, True),
        ("h" * 40, True),
        (("f" * (MOST_IN_VAIN - 1) + "n") * 4, False),
        (("fhrf" * MOST_IN_VAIN)[: MOST_IN_VAIN - 1] + "g", False),
        (("f" * (MOST_IN_VAIN - 1) + "g") * 5, False),
        ("f" * MOST_IN_VAIN, False),
        ("g" * 9 + "f" * MOST_IN_VAIN + "g" * 26, True),
    ],
    ids=[
        "every other",
        "nonsense to few",
        "nonsense to all",
        "nonsense up to a good one",
        "refused",
        "no chat completions",
        "up to nonsense",
        "all kinds",
        "up to a good one",
        "few",
        "row",
    ],
)
def test_only_answers_in_a_row_without_a_reply_end_all(server, asked, reply, play, refusal, pattern, given_up):
    plays = {
        "f": play(503),
        "g": reply("70"),
        "n": reply("I'd say 70 or 80"),
        "r": play(400),
        "h": play(200, content=b"<html>"),
    }
    things = [asked(answer=str(number)) for number in range(len(pattern))]
    by_prompt = {write_prompt(thing): plays[kind] for thing, kind in zip(things, pattern, strict=True)}
    server.script = lambda prompt, _: by_prompt[prompt]
    judge = server.judge(num_requests=1, num_retries=0)
    if given_up:
        last = {"f": "status 503", "g": "status 503", "r": "status 400", "h": "no chat completion in the reply"}
        last["n"] = "no score in the reply"
        assert f"(last: {last[pattern[0]]})" in refusal(scores, judge, things)
    else:
        assert scores(judge, things) == [70 if kind == "g" else None for kind in pattern]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_server_is_never_followed_by_key_or_question(server, elsewhere, asked, play, status):
    server.script = lambda *_: play(status, headers=(("Location", f"{elsewhere.url}/chat/completions"),))
    judge = server.judge(key=SECRET)
    assert scores(judge, [asked()]) == [None]
    assert judge.failures == {f"status {status}, a redirect, which is not followed": 1}
    assert (len(server.requests), elsewhere.requests) == (1, [])


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
FAST = 64 * 2**20
ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "spaces": (HEAD + b"\r\n", b" " * 2**16),
    "a length": (HEAD + b"Content-Length: 999999999999\r\n\r\n", b" " * 2**16),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 2**16 + b"\r\n"),
    "gzip": (HEAD + b"Content-Encoding: gzip\r\n\r\n", gzip.compress(bytes(2**26))),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_reply_that_never_ends_is_not_read_on(server, asked, play, name):
    head, piece = ENDLESS[name]
    server.script = lambda *_: play(pieces=chain([head], repeat(piece, FAST // len(piece))))
    judge = server.judge()
    tracemalloc.start()
    assert scores(judge, [asked()]) == [None]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * LONGEST_REPLY
    assert judge.failures == {"endless reply": 1}
    assert server.num_sent < FAST / 2
    assert len(server.requests) == 1


DRAWN_OUT = {
    "headers": (b"HTTP/1.1 200 OK\r\nServer: ", b"a"),
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": (HEAD + b"\r\n", b" "),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}


@pytest.mark.parametrize("name", DRAWN_OUT)
def test_a_reply_that_is_drawn_out_ends_with_its_time(server, asked, reply, play, name):
    head, piece = DRAWN_OUT[name]
    slow = play(pieces=chain([head], repeat(piece, 60)), pause=0.05)
    server.script = lambda _, before: reply("70") if before else slow
    start = time.monotonic()
    judge = server.judge(timeout=0.4, num_retries=0)
    assert scores(judge, [asked()]) == [None]
    assert time.monotonic() - start < 2
    assert judge.failures == {"timeout": 1}
    assert scores(judge, [asked()]) == [70]


def test_a_judge_that_knows_another_name_for_the_most_tokens_gets_that(server, asked, reply, play):
    refusal = b'{"error": {"message": "Unsupported: \'max_tokens\'. Use \'max_completion_tokens\' instead."}}'

    def script(*_: Any) -> Any:
        return play(400, refusal) if "max_tokens" in server.requests[-1].body else reply("70")

    server.script = script
    assert (
        scores(server.judge(num_requests=1, num_retries=0, reply_tokens=4000), [asked(), asked(rubric=1)]) == [70] * 2
    )
    limits = [{name: each.body[name] for name in each.body if "tokens" in name} for each in server.requests]
    assert limits == [{"max_tokens": 4000}] + [{"max_completion_tokens": 4000}] * 2
    server.script = lambda *_: play(400, refusal)
    judge = server.judge()
    assert scores(judge, [asked()]) == [None]
    assert judge.failures == {"status 400": 1}


def test_a_judge_that_takes_no_temperature_is_given_up_with_the_option_to_turn(server, asked, reply, play, refusal):
    said = b'{"error": {"message": "Unsupported value: temperature does not support 0.", "param": "temperature"}}'
    server.script = lambda *_: play(400, said) if "temperature" in server.requests[-1].body else reply("70")
    things = [asked(answer=str(each)) for each in range(9)]
    message = refusal(scores, server.judge(num_requests=1), things)
    assert "(last: status 400, about the temperature: try --temperature None)" in message
    assert scores(server.judge(num_requests=1, temperature=None), things) == [70] * 9


def test_a_judge_may_think_first_and_an_unfinished_reply_is_none(server, asked, reply):
    replies = {
        "think": (reply("<think>10 or 20? No, 0.</think>\n\n85"), 85),
        "elsewhere": (reply("85", finish_reason="stop"), 85),
        "bold": (reply("**85**"), 85),
        "unclosed": (reply("<think>It is 85"), None),
        "cut": (reply("10", finish_reason="length"), None),
        "silent": (reply(None, finish_reason="length"), None),
    }
    things = {write_prompt(asked(answer=name)): play for name, (play, _) in replies.items()}
    server.script = lambda prompt, _: things[prompt]
    judge = server.judge(num_retries=0)
    assert scores(judge, [asked(answer=name) for name in replies]) == [score for _, score in replies.values()]
    assert judge.failures == {"no score in the reply": 1, "reply cut off by --reply-tokens": 2}


@pytest.mark.parametrize("status", [400, 302])
def test_what_is_refused_for_good_is_not_asked_again(server, asked, reply, play, status):
    elsewhere = (("Location", f"{server.url}/elsewhere"),)
    server.script = lambda prompt, _: play(status, headers=elsewhere) if "bad" in prompt else reply("70")
    judge = server.judge(key=SECRET)
    assert scores(judge, [asked(answer="bad"), asked()]) == [None, 70]
    assert judge.failures == {f"status {status}{', a redirect, which is not followed' * (status == 302)}": 1}
    assert [request.path for request in server.requests] == ["/v1/chat/completions"] * 2


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "refuses the key in $MY_KEY (status 401)"),
        (403, "(status 403)"),
        (404, "has no chat completions of 'some"),
    ],
)
def test_a_judge_that_can_never_answer_ends_all_at_once(server, asked, play, refusal, status, said):
    server.script = lambda *_: play(status, content=f"wrong key: {SECRET}".encode())
    judge = server.judge(key=SECRET, key_variable="MY_KEY", num_requests=2)
    message = refusal(scores, judge, [asked(answer=str(each)) for each in range(50)])
    assert said in message
    assert SECRET not in message
    assert len(server.requests) <= 4


def test_a_missing_key_is_called_missing(server, asked, play, refusal):
    server.script = lambda *_: play(401)
    assert "there is none in $OPENAI_API_KEY" in refusal(scores, server.judge(), [asked()])


def test_those_that_wait_are_woken_when_all_ends(server, asked, play, refusal):
    def script(prompt: str, before: int) -> Any:
        if "patient" in prompt:
            return play(429, headers=(("Retry-After", "60"),))
        time.sleep(0.1)
        return play(401)

    server.script = script
    start = time.monotonic()
    assert "(status 401)" in refusal(scores, server.judge(), [asked(answer="patient"), asked()])
    assert time.monotonic() - start < 10


def test_where_nobody_listens_is_said_at_once(asked, refusal, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    judge = Endpoint(url=f"http://127.0.0.1:{free}/v1", model="some-judge", num_retries=9)
    assert f"can't connect to http://127.0.0.1:{free}/v1" in refusal(scores, judge, [asked()] * 20)


@pytest.mark.parametrize("wanted", ["1", None])
def test_an_endpoint_is_left_alone_as_long_as_it_wants(server, asked, reply, play, wanted):
    headers = () if wanted is None else (("Retry-After", wanted),)
    server.script = lambda _, before: reply("1") if before else play(429, headers=headers)
    assert scores(server.judge(), [asked()]) == [1]
    first, second = server.requests
    assert (second.when - first.when >= 1) == (wanted is not None)


def test_an_endpoint_that_wants_to_be_left_alone_for_long_is_not_asked_again(server, asked, play):
    server.script = lambda *_: play(429, headers=(("Retry-After", "3600"),))
    assert scores(server.judge(), [asked()]) == [None]
    assert len(server.requests) == 1


def test_the_wanted_wait_is_read_in_seconds_or_as_a_date():
    def wait(header: str | None) -> float:
        response = Response()
        response.headers.update({} if header is None else {"Retry-After": header})
        return wait_of(response)

    assert wait("7") == 7
    assert 55 < wait(formatdate(time.time() + 60, usegmt=True)) <= 60
    for header in (None, "-3", "soon", "nan", formatdate(time.time() - 60, usegmt=True)):
        assert wait(header) == 0


def test_waits_double_and_their_random_part_depends_on_the_seed_and_the_prompt(server, asked, play, monkeypatch):
    server.script = lambda *_: play(500)

    def waits(seed: int, answer: str = "Fine.") -> list[float]:
        noted: list[float] = []

        class Clock(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                noted.append(timeout or 0)
                return False

        class Contact(endpoint.Contact):
            def __init__(self) -> None:
                super().__init__()
                self.ended = Clock()

        monkeypatch.setattr(endpoint, "Contact", Contact)
        assert scores(server.judge(seed=seed, num_retries=4), [asked(answer=answer)]) == [None]
        return noted

    first = waits(0)
    for attempt, wait in enumerate(first):
        assert 0.001 * 2**attempt <= wait < 0.002 * 2**attempt
    assert len(first) == len(set(first)) == 4
    assert len({round(later / earlier, 6) for earlier, later in pairwise(first)}) == 3
    assert waits(0) == first
    assert waits(1) != first
    assert waits(0, "Well.") != first


def test_the_key_is_sent_and_shown_nowhere(server, asked, reply, tmp_path, monkeypatch, caplog):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    judge = server.judge(key=SECRET)
    with caplog.at_level("DEBUG"):
        assert scores(judge, [asked()]) == [50]
        assert scores(server.judge(), [asked()]) == [50]
    with_key, without = server.requests
    assert with_key.headers["Authorization"] == f"Bearer {SECRET}"
    assert "Authorization" not in without.headers
    assert caplog.text
    assert SECRET not in caplog.text + repr(judge)


@pytest.mark.parametrize("key", [f"{SECRET}\nmore", f"{SECRET} more", f"{SECRET}é"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(refusal, key):
    message = refusal(Endpoint, url="http://localhost/v1", model="m", key=key, key_variable="MY_KEY")
    assert "$MY_KEY" in message
    assert SECRET not in message


@pytest.mark.parametrize(
    "url",
    [f"http://me:{SECRET}@localhost/v1", f"http://localhost/v1?key={SECRET}", "http://", "http://[", "http://a:b/v1"],
)
def test_an_address_must_be_bare(refusal, url):
    message = refusal(Endpoint, url=url, model="m")
    assert "must be a base address" in message
    assert SECRET not in message
    assert Endpoint(url="http://localhost:8000/v1", model="m").url == "http://localhost:8000/v1"
