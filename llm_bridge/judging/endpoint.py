"""A judge behind an OpenAI-compatible endpoint: asked in several threads, and again where that may help."""

import json
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import numpy as np
from requests import PreparedRequest, ReadTimeout, RequestException, Response, Session
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from llm_bridge.judging.rubrics import Asked, NoScoreError, Score, read_score, write_prompt
from theory.runs.command_line import InputError

Result = TypeVar("Result")

BACKOFF = 1.0
"""Seconds before a request is repeated for the first time; twice as many before each further time."""

LONGEST_WAIT = 300.0
"""Seconds; if an endpoint asks for a longer wait, the answer stays unjudged."""

LONGEST_REPLY = 2**20
"""Bytes; a reply that goes on is no reply. It is asked for without compression, so that none unfolds."""

MOST_IN_VAIN = 5
"""Answers in a row that the endpoint was asked about as often as allowed, without a reply of the judge, after which it
is asked no more: one that is dead would hold a run up for hours. If it was asked about so few in all, it is not."""

MOST_AT_FIRST = 20
"""Answers that may be left unjudged before the first that is not: a judge that never gives a score may cost money."""


class Reply(NamedTuple):
    """What became of one request."""

    score: Score = None
    """The score, if there is one."""
    reason: str = ""
    """Why there is none."""
    again: bool = True
    """Whether asking again may help."""
    answered: bool = False
    """Whether the judge has answered at all, be it nonsense."""
    wait: float = 0.0
    """Seconds that the endpoint wants to be left alone."""


class Contact:
    """What the threads of one call know of each other."""

    def __init__(self) -> None:
        self.made, self.ended = Event(), Event()
        self.limit = "max_tokens"
        """What the endpoint calls the most tokens of a reply."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A judge that is asked over the network.

    The key is sent as a bearer token and goes nowhere else: no message, record or representation holds it, and what the
    endpoint says is never shown, as it may repeat the key.
    """

    url: str
    """Base address, as in `http://localhost:8000/v1`."""
    model: str
    """The model's name there."""
    key: str = field(default="", repr=False)
    """The key; empty for none."""
    key_variable: str = "OPENAI_API_KEY"
    """Where the key comes from, for messages."""
    num_requests: int = 8
    """Requests at a time."""
    timeout: float = 60.0
    """Seconds after which a reply that isn't complete has failed."""
    temperature: float | None = 0.0
    """The judge's temperature; None to leave it to the endpoint."""
    reply_tokens: int = 16
    """Most tokens of a reply."""
    num_retries: int = 5
    """How often a request is repeated."""
    seed: int = 0
    """Root of the random part of the waits."""
    failures: Counter[str] = field(default_factory=Counter, init=False, compare=False)
    """Why scores are missing, counted."""

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            bare = parts.hostname and parts.port != 0 and not (parts.username or parts.password or parts.query)
        except ValueError:
            bare = False
        if not bare:
            raise InputError("--judge must be a base address as in http://localhost:8000/v1, without password or query")
        if not (self.key.isascii() and self.key.isprintable() and " " not in self.key):
            raise InputError(f"${self.key_variable} holds characters that no key has: put the bare key into it")

    def __call__(self, asked: Sequence[Asked]) -> Iterator[tuple[int, Score]]:
        """Give scores as they come; a judge that falls silent, or scores none of the first answers, is given up."""
        contact, in_vain, found = Contact(), 0, False
        with Session() as session, ThreadPoolExecutor(self.num_requests) as pool:
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(pool_maxsize=self.num_requests))
            places, ended = {}, SimpleQueue[Future[Reply]]()
            for place, each in enumerate(asked):
                places[future := pool.submit(self.ask, session, contact, each)] = place
                future.add_done_callback(ended.put)
            try:
                for count in range(1, len(asked) + 1):
                    future = ended.get()
                    reply = future.result()
                    if reply.score is None:
                        self.failures[reply.reason] += 1
                    yield places[future], reply.score
                    in_vain = 0 if reply.answered else in_vain + 1
                    found = found or reply.score is not None
                    if in_vain == MOST_IN_VAIN < len(asked):
                        raise InputError(self.left_unjudged(in_vain, reply))
                    if not found and count == MOST_AT_FIRST < len(asked):
                        self.failures["not asked any more"] += len(asked) - count
                        raise NoScoreError(self.left_unjudged(count, reply))
            finally:
                contact.ended.set()

    def left_unjudged(self, count: int, last: Reply) -> str:
        """Say why this judge is given up."""
        return (
            f"{self.url} left {count} answers in a row unjudged (last: {last.reason}): check --judge and what runs "
            "there, then say the same without --fresh: what is judged is kept"
        )

    def ask(self, session: Session, contact: Contact, asked: Asked) -> Reply:
        """Ask until there is a score, or no hope."""
        prompt, reply = write_prompt(asked), Reply(reason="stopped")
        random = np.random.default_rng((self.seed, zlib.crc32(prompt.encode(errors="backslashreplace"))))
        for attempt in range(self.num_retries + 1):
            if contact.ended.is_set():
                break
            reply = self.post(session, contact, prompt, may_refuse=asked.rubric.may_refuse)
            if not reply.again or attempt == self.num_retries or reply.wait > LONGEST_WAIT:
                break
            contact.ended.wait(max(reply.wait, BACKOFF * 2**attempt * (1 + random.random())))
        return reply

    def post(self, session: Session, contact: Contact, prompt: str, *, may_refuse: bool) -> Reply:
        """Ask once."""
        limit = contact.limit
        body = {"model": self.model, limit: self.reply_tokens, "messages": [{"role": "user", "content": prompt}]}
        if self.temperature is not None:
            body["temperature"] = self.temperature
        try:
            response, content = within(self.timeout, lambda: self.send(session, contact, body))
        except (ReadTimeout, TimeoutError):
            return Reply(reason="timeout")
        except (RequestException, HTTPError) as error:
            if not contact.made.is_set():
                raise InputError(f"can't connect to {self.url}: start the endpoint, or mend --judge") from error
            return Reply(reason="connection lost")
        if len(content) > LONGEST_REPLY:
            return Reply(reason="endless reply", again=False)
        status = response.status_code
        if status in {401, 403}:
            given = "the key in" if self.key else "requests without a key, and there is none in"
            raise InputError(
                f"{self.url} refuses {given} ${self.key_variable} (status {status}): put a valid key there"
            )
        if status == 404:
            raise InputError(f"{self.url} has no chat completions of {self.model!r}: mend --judge or --judge-model")
        if status == 400 and limit == "max_tokens" and b"max_completion_tokens" in content:
            contact.limit = "max_completion_tokens"
            return self.post(session, contact, prompt, may_refuse=may_refuse)
        if status != 200:
            again = status in {408, 429} or status >= 500
            return Reply(reason=self.reason(status, content), again=again, wait=wait_of(response))
        text, complete = read_reply(content)
        if not complete:
            return Reply(reason="reply cut off by --reply-tokens", again=False, answered=True)
        if text is None:
            return Reply(reason="no chat completion in the reply")
        score = read_score(text, may_refuse=may_refuse)
        reason = "no score in the reply" if score is None else ""
        return Reply(score, reason, again=score is None, answered=True)

    def send(self, session: Session, contact: Contact, body: dict[str, Any]) -> tuple[Response, bytes]:
        """Send a request; of the reply no more is read than shows that it is too long."""
        with session.post(
            f"{self.url.rstrip('/')}/chat/completions",
            json=body,
            headers={"Accept-Encoding": "identity"},
            auth=self.authorize,
            timeout=(self.timeout / 2, self.timeout),
            allow_redirects=False,
            stream=True,
        ) as response:
            contact.made.set()
            return response, response.raw.read(LONGEST_REPLY + 1, decode_content=False)

    def reason(self, status: int, content: bytes) -> str:
        """Say why a request was refused."""
        if 300 <= status < 400:
            return f"status {status}, a redirect, which is not followed"
        if status == 400 and self.temperature is not None and b"temperature" in content:
            return f"status {status}, about the temperature: try --temperature None"
        return f"status {status}"

    def authorize(self, request: PreparedRequest) -> PreparedRequest:
        """Add the key to a request; given as a function, so that no key from a `.netrc` takes its place."""
        if self.key:
            request.headers["Authorization"] = f"Bearer {self.key}"
        return request


def within(seconds: float, do: Callable[[], Result]) -> Result:
    """Do something in a thread of its own, which is left to itself when the time is over.

    Nothing else ends all that a server can draw out, from its headers on.
    """
    done: Future[Result] = Future()

    def run() -> None:
        try:
            done.set_result(do())
        except BaseException as error:
            done.set_exception(error)

    Thread(target=run, daemon=True).start()
    return done.result(seconds)


def read_reply(content: bytes) -> tuple[str | None, bool]:
    """Read what the judge says, None if it is no chat completion, and whether it came to its end."""
    try:
        choice: Any = json.loads(content)["choices"][0]
        if choice.get("finish_reason") == "length":
            return None, False
        text = choice["message"]["content"]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None, True
    return text if isinstance(text, str) else None, True


def wait_of(response: Response) -> float:
    """Read how many seconds an endpoint wants to be left alone: `Retry-After` as a number or a date, 0 without one."""
    wanted = response.headers.get("Retry-After", "0")
    try:
        return max(0.0, float(wanted))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(wanted).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
