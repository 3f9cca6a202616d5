"""A judge behind an OpenAI-compatible endpoint: asked in several threads, and again where that may help."""

import json
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from queue import SimpleQueue
from threading import Event
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from requests import PreparedRequest, ReadTimeout, RequestException, Response, Session
from requests.adapters import HTTPAdapter

from llm_bridge.judging.rubrics import Asked, Score, read_score, write_prompt
from theory.command_line import InputError

BACKOFF = 1.0
"""Seconds before a request is repeated for the first time; twice as many before each further time."""

LONGEST_WAIT = 300.0
"""Seconds; if an endpoint asks for a longer wait, the answer stays unjudged."""

REPLY = 16
"""Most tokens of a reply."""

MOST_IN_VAIN = 5
"""Answers in a row that the endpoint was asked about as often as allowed, without a reply of the judge, after which it
is asked no more: one that is dead would hold a run up for hours. If it was asked about so few in all, it is not."""


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
        """Start with nothing."""
        self.made, self.ended = Event(), Event()


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A judge that is asked at temperature 0.

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
    """Seconds without a sign from the endpoint after which a request has failed."""
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
        """Judge.

        Args:
            asked: What is asked.

        Yields:
            Place and score, as they come.

        Raises:
            InputError: If no request can succeed, or the judge falls silent.
        """
        contact, in_vain = Contact(), 0
        with Session() as session, ThreadPoolExecutor(self.num_requests) as pool:
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(pool_maxsize=self.num_requests))
            places, ended = {}, SimpleQueue[Future[Reply]]()
            for place, each in enumerate(asked):
                places[future := pool.submit(self.ask, session, contact, each)] = place
                future.add_done_callback(ended.put)
            try:
                for _ in asked:
                    future = ended.get()
                    reply = future.result()
                    if reply.score is None:
                        self.failures[reply.reason] += 1
                    yield places[future], reply.score
                    in_vain = 0 if reply.answered else in_vain + 1
                    if in_vain == MOST_IN_VAIN < len(asked):
                        raise InputError(
                            f"{self.url} left {in_vain} answers in a row unjudged (last: {reply.reason}): check "
                            "--judge and what runs there, then say the same without --fresh: what is judged is kept"
                        )
            finally:
                contact.ended.set()

    def ask(self, session: Session, contact: Contact, asked: Asked) -> Reply:
        """Ask until there is a score, or no hope.

        Args:
            session: Connections.
            contact: What other threads know.
            asked: What is asked.

        Returns:
            The last reply.
        """
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
        """Ask once.

        Args:
            session: Connections.
            contact: What other threads know.
            prompt: What the judge reads.
            may_refuse: As of `read_score`.

        Returns:
            What came of it.

        Raises:
            InputError: If no request can succeed.
        """
        body = {"model": self.model, "temperature": 0, "max_tokens": REPLY}
        body["messages"] = [{"role": "user", "content": prompt}]
        try:
            with session.post(
                f"{self.url.rstrip('/')}/chat/completions",
                json=body,
                auth=self.authorize,
                timeout=self.timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                contact.made.set()
                content = response.content
        except ReadTimeout:
            return Reply(reason="timeout")
        except RequestException as error:
            if not contact.made.is_set():
                raise InputError(f"can't connect to {self.url}: start the endpoint, or mend --judge") from error
            return Reply(reason="connection lost")
        status = response.status_code
        if status in {401, 403}:
            given = "the key in" if self.key else "requests without a key, and there is none in"
            raise InputError(
                f"{self.url} refuses {given} ${self.key_variable} (status {status}): put a valid key there"
            )
        if status == 404:
            raise InputError(f"{self.url} has no chat completions of {self.model!r}: mend --judge or --judge-model")
        if status != 200:
            again = status in {408, 429} or status >= 500
            return Reply(reason=f"status {status}", again=again, wait=wait_of(response))
        text = read_reply(content)
        if text is None:
            return Reply(reason="no chat completion in the reply")
        score = read_score(text, may_refuse=may_refuse)
        reason = "no score in the reply" if score is None else ""
        return Reply(score, reason, again=score is None, answered=True)

    def authorize(self, request: PreparedRequest) -> PreparedRequest:
        """Add the key to a request; given as a function, so that no key from a `.netrc` takes its place.

        Args:
            request: The request.

        Returns:
            The same.
        """
        if self.key:
            request.headers["Authorization"] = f"Bearer {self.key}"
        return request


def read_reply(content: bytes) -> str | None:
    """Read what the judge says from what an endpoint sends.

    Args:
        content: What it sends.

    Returns:
        The text; None if it is no chat completion.
    """
    try:
        text: Any = json.loads(content)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return text if isinstance(text, str) else None


def wait_of(response: Response) -> float:
    """Read how long an endpoint wants to be left alone.

    Args:
        response: What it sends, with a header `Retry-After` in seconds or as a date, or without.

    Returns:
        Seconds; 0 if it doesn't say.
    """
    wanted = response.headers.get("Retry-After", "0")
    try:
        return max(0.0, float(wanted))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(wanted).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
