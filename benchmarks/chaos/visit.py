"""One user: asks for a session as the documents say, joins, types, is answered, leaves. Notes whatever they notice."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import secrets
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Literal

import httpx

from agent.conversation import RESUMED_LINE
from orchestrator.adapters.livekit_client import Caller, CallOverError, Line
from orchestrator.domain.errors import RoomsUnavailableError

PATIENCE_S = 60.0
"""A user who has no agent by then gives up."""
POLL_S = 0.2
RECONNECT_S = 0.5
"""Before a request that had no answer is sent again."""
SOON_S = 1.0
PROMPT_S = 4.0
"""A greeting or an answer that takes longer is noticed: it is spoken at the pace of speech, its text along with it."""
GREETING_S = 20.0
ANSWER_S = 10.0
ASK_TRIES = 2
"""Then the page is loaded again: a starved machine breaks a user's connection, too, and not only an agent's."""
MOST_RELOADS = 2
REJOIN_S = 1.0
"""A page whose room was closed asks then what became of its session."""
FINAL = ("ended", "failed")
ASKED = re.compile(r"(visitor-\d+) asks")
"""What each user types, and each answer repeats."""

Outcome = Literal["served", "refused", "cut", "broken"]


class Refused(Exception):  # noqa: N818 - an answer, not a fault of ours
    """The user was told, in words, that there will be no session."""


class Cut(Exception):  # noqa: N818 - as above
    """The session is over, and says why."""


class Reload(Exception):  # noqa: N818 - as above
    """The user has had no answer and loads the page again."""


class Broken(Exception):  # noqa: N818 - as above
    """A promise was broken."""


@dataclass(frozen=True)
class Notice:
    """What a user noticed."""

    since: float
    """When what they noticed began, such as the wait."""
    at: float
    what: str


@dataclass
class Visit:
    """One user's visit. Times are ``time.monotonic()``."""

    number: int
    questions: int
    polite: bool
    """Ends the session with DELETE; others just leave the room."""
    keyed: bool = True
    """Sends an ``Idempotency-Key`` with the start."""
    sound: bool = True
    """Has a microphone and hears; others only type and read."""
    began_at: float = field(default_factory=monotonic)
    ended_at: float | None = None
    phase: Literal["starting", "assigned", "talking", "over"] = "starting"
    session_id: str | None = None
    reloads: int = 0
    sessions: list[str] = field(default_factory=list)
    """Every session that this user was told is ready."""
    start_s: float | None = None
    answers: int = 0
    outcome: Outcome | None = None
    words: str = ""
    notices: list[Notice] = field(default_factory=list)

    @property
    def user(self) -> str:
        """The user's id; each visit is another user's."""
        return f"visitor-{self.number}"

    def notice(self, what: str, since: float | None = None) -> None:
        """Note it, with the time."""
        now = monotonic()
        self.notices.append(Notice(now if since is None else since, now, what))


class Visitor:
    """Makes one visit happen."""

    def __init__(self, http: httpx.AsyncClient, visit: Visit, rhythm: random.Random) -> None:
        self._http = http
        self.visit = visit
        self._pause_s = rhythm.uniform(0.3, 1.2)
        self._asked = 0

    async def run(self) -> None:
        """Start, talk, end; the visit says what came of it."""
        visit = self.visit
        try:
            join = await self._start()
            await asyncio.sleep(self._pause_s)  # a browser opens the microphone
            await self._talk(join)
            visit.outcome = "served"
        except Refused as refusal:
            visit.outcome, visit.words = "refused", str(refusal)
            visit.notice(f"refused: {refusal}")
        except Cut as cut:
            visit.outcome, visit.words = "cut", str(cut)
            visit.notice(f"call over: {cut}")
        except Broken as broken:
            visit.outcome, visit.words = "broken", str(broken)
            visit.notice(f"BROKEN: {broken}")
        finally:
            visit.phase = "over"
            await self._end()
            visit.ended_at = monotonic()

    # --- the session -----------------------------------------------------------------------------------

    async def _start(self) -> dict[str, str]:
        """Returns where to join."""
        visit, deadline = self.visit, monotonic() + PATIENCE_S
        while True:
            key = secrets.token_hex(12) if visit.keyed else None
            answer = await self._insist("POST", "/api/session/start", deadline, key=key)
            session_id = answer["sessionId"]
            if answer["status"] == "ready" or await self._became_ready(session_id, deadline):
                break
            visit.notice("a start that was queued was lost; begun again")
        visit.session_id, visit.phase = session_id, "assigned"
        visit.sessions.append(session_id)
        visit.start_s = monotonic() - visit.began_at
        if visit.start_s > SOON_S:
            visit.notice(f"waited {visit.start_s:.1f} s for an agent", visit.began_at)
        return answer.get("join") or await self._token(deadline)

    async def _became_ready(self, session_id: str, deadline: float) -> bool:
        """False when the session is not known: a Redis that was killed may have lost its last second."""
        while True:
            session = await self._insist("GET", f"/api/session/{session_id}", deadline, missing=True)
            if session.get("code") == "session_not_found":
                return False
            if session["status"] in ("ready", "active"):
                return True
            if session["status"] in FINAL:
                raise Refused(_said("spawn_failed", session.get("error")))
            if monotonic() > deadline:
                raise Broken(f"{session_id} is neither ready nor refused after {PATIENCE_S:g} s")
            await asyncio.sleep(POLL_S)

    async def _token(self, deadline: float) -> dict[str, str]:
        try:
            return await self._insist("POST", "/api/token", max(deadline, monotonic() + PATIENCE_S))
        except Refused as refusal:
            await self._look(str(refusal))
            raise Broken(f"no token for a session that is ready: {refusal}") from None

    async def _insist(
        self, method: str, path: str, deadline: float, *, key: str | None = None, missing: bool = False
    ) -> dict[str, Any]:
        """The answer, asked for again as long as that is what the answer, or its lack, asks for.

        Raises:
            Refused: with a code and words.
            Broken: no answer at all, or an error that says nothing.
        """
        last = "nothing"
        while True:
            try:
                answer = await self._http.request(method, path, json=self._body(path), headers=_headers(key))
            except httpx.TransportError as error:
                last, pause_s, told = f"{type(error).__name__}", RECONNECT_S, False
                self.visit.notice("the API did not answer")
            else:
                content = _json(answer)
                if answer.is_success or (missing and answer.status_code == 404):
                    return content
                last, pause_s, told = _refusal(answer, content), float(answer.headers.get("Retry-After", 0)), True
                if not pause_s:
                    raise Refused(last)
                self.visit.notice(f"asked to try again: {content['code']}")
            if monotonic() + pause_s > deadline:
                raise Refused(last) if told else Broken(f"no answer to {method} {path}: {last}")
            await asyncio.sleep(pause_s)

    def _body(self, path: str) -> dict[str, str] | None:
        visit = self.visit
        if path == "/api/session/start":
            return {"userId": visit.user, "userName": visit.user}
        return {"sessionId": visit.session_id or "", "userName": visit.user} if path == "/api/token" else None

    async def _look(self, why: str) -> None:
        """Raise ``Cut`` when the session is over and says why; return when it lives."""
        path = f"/api/session/{self.visit.session_id}"
        session = await self._insist("GET", path, monotonic() + PATIENCE_S, missing=True)
        if session.get("code") == "session_not_found":
            raise Broken(f"{self.visit.session_id} was ready and is not known any more ({why})")
        if session["status"] == "failed":
            raise Cut(_said("failed", session.get("error")))
        if session["status"] == "ended":
            raise Cut("ended")  # its record says why; the promises look there

    async def _end(self) -> None:
        visit = self.visit
        if visit.session_id is None or not (visit.polite or visit.outcome == "broken"):
            return
        with contextlib.suppress(Refused, Broken):
            await self._insist("DELETE", f"/api/session/{visit.session_id}", monotonic() + PATIENCE_S)

    # --- the call --------------------------------------------------------------------------------------

    async def _talk(self, join: dict[str, str]) -> None:
        """Talk until all was asked; join again when the room was lost and the session lives."""
        deadline = monotonic() + 3 * PATIENCE_S
        while True:
            try:
                async with Caller(sound=self.visit.sound) as caller:
                    await caller.join(join["url"], join["token"])
                    self.visit.phase = "talking"
                    await self._converse(caller)
                    return
            except RoomsUnavailableError:
                await self._look("LiveKit could not be joined")
                self.visit.notice("LiveKit could not be joined")
                await asyncio.sleep(RECONNECT_S)
            except CallOverError:
                await self._after_the_room()
            except Reload:
                await self._look("no answer")
                self.visit.reloads += 1
                if self.visit.reloads > MOST_RELOADS:
                    raise Broken(f"{self.visit.session_id} lives and does not answer") from None
                self.visit.notice("no answer; the page loaded again")
            if monotonic() > deadline:
                raise Broken(f"{self.visit.session_id} is ready and could not be talked to")
            join = await self._token(deadline)

    async def _after_the_room(self) -> None:
        """The room was closed: either the session says that it is over, or it goes on."""
        await asyncio.sleep(REJOIN_S)
        await self._look("the room was closed")
        self.visit.notice("the room was closed; joined again")

    async def _converse(self, caller: Caller) -> None:
        began = monotonic()
        greeted = await self._heard(caller, "", GREETING_S) if self._asked == 0 else began
        if greeted is None:
            await self._look("no greeting")
            self.visit.notice("no greeting", began)
        elif greeted - began > PROMPT_S:
            self.visit.notice(f"greeted after {greeted - began:.1f} s", began)
        while self.visit.answers < self.visit.questions:
            await self._ask(caller)
            await asyncio.sleep(self._pause_s)
        self._check_lines(caller)

    async def _ask(self, caller: Caller) -> None:
        began = monotonic()
        for _ in range(ASK_TRIES):
            self._asked += 1
            asked = monotonic()
            text = f"{self.visit.user} asks {self._asked}"
            await self._type(caller, text)
            answered = await self._heard(caller, text, ANSWER_S)
            if answered is not None:
                break
            await self._look("no answer")
            self.visit.notice("no answer; asked again", asked)
        else:
            raise Reload
        self.visit.answers += 1
        if answered - began > PROMPT_S:
            self.visit.notice(f"answered after {answered - began:.1f} s", began)
        self._check_lines(caller)

    async def _type(self, caller: Caller, text: str) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                await caller.type_text(text)
        except Exception as error:  # livekit-rtc raises what its native side says
            if caller.over:
                raise CallOverError("the room was closed while typing") from error
            self.visit.notice("what was typed could not be sent")

    async def _heard(self, caller: Caller, text: str, timeout_s: float) -> float | None:
        """When a line of the agent's with this text was seen; None when it was not, or another agent took over."""
        takeovers = len(_takeovers(caller))
        deadline = monotonic() + timeout_s
        while not any(line.who == "agent" and line.text.strip() and text in line.text for line in caller.transcripts):
            if caller.over:
                raise CallOverError("the room was closed")
            if monotonic() > deadline or len(_takeovers(caller)) > takeovers:
                return None
            await asyncio.sleep(0.05)
        return monotonic()

    def _check_lines(self, caller: Caller) -> None:
        """An agent that speaks to another user would name them."""
        for line in caller.transcripts:
            named = ASKED.search(line.text)  # the whole of it: lines grow as they are spoken
            if named is not None and named[1] != self.visit.user:
                raise Broken(f"{self.visit.user} heard what is another's: {line.text!r}")
        told = {notice.since for notice in self.visit.notices}
        for line in _takeovers(caller):
            if line.began_at not in told:
                self.visit.notice("another agent took over, with one sentence", line.began_at)


def _takeovers(caller: Caller) -> list[Line]:
    return [line for line in caller.transcripts if line.who == "agent" and line.text.strip() == RESUMED_LINE]


def _headers(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Idempotency-Key": key}


def _json(answer: httpx.Response) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        content = answer.json()
        if isinstance(content, dict):
            return content
    return {}


def _refusal(answer: httpx.Response, content: dict[str, Any]) -> str:
    """The refusal's code and words.

    Raises:
        Broken: it has none, or says only that something went wrong.
    """
    code, words = content.get("code"), content.get("detail")
    if not code or not words or code == "internal_error":
        raise Broken(f"an unclear answer: {answer.status_code} {answer.text[:200]}")
    return f"{code}: {words}"


def _said(code: str, words: str | None) -> str:
    if not words:
        raise Broken(f"{code}, without words")
    return f"{code}: {words}"
