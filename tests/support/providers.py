"""Local stand-ins for the paid providers, speaking the three protocols as the installed plugins speak them."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from aiohttp import WSMsgType, web

from speech import espeak
from tests.support.speech import resample

KEY = "a-key-for-tests"
_LOUD = 300.0
_SILENCE_BYTES = 2 * 16_000 * 4 // 10
"""400 ms of 16 kHz int16."""


@dataclass
class Providers:
    """One server on one loopback port for all three. What it hears, it does not recognise: it has a script."""

    transcript: str = "where is the station"
    reply: str = "The station is round the corner."
    tokens: tuple[int, int] = (321, 8)
    """That one answer is said to have taken: in, out."""
    url: str = ""
    stt_streams: int = 0
    """AssemblyAI streams open now."""
    stt_queries: list[dict[str, str]] = field(default_factory=list)
    heard_bytes: int = 0
    chat_requests: list[dict[str, Any]] = field(default_factory=list)
    tts_contexts: list[dict[str, Any]] = field(default_factory=list)
    spoken: list[str] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point an agent here."""
        ws_url = self.url.replace("http", "ws", 1)
        return {
            "ASSEMBLY_API_KEY": KEY,
            "ASSEMBLY_BASE_URL": ws_url,
            "GROQ_API_KEY": KEY,
            "GROQ_BASE_URL": f"{self.url}/openai/v1",
            "INWORLD_API_KEY": KEY,
            "INWORLD_BASE_URL": f"{self.url}/",
            "INWORLD_WS_URL": f"{ws_url}/",
        }

    def _note(self, request: web.Request) -> None:
        self.authorizations.add(request.headers.get("Authorization", ""))

    async def assembly(self, request: web.Request) -> web.WebSocketResponse:
        """``Begin``; for each utterance ``SpeechStarted`` and one final ``Turn``; at last ``Termination``."""
        self._note(request)
        self.stt_queries.append(dict(request.query))
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.stt_streams += 1
        try:
            await socket.send_json({"type": "Begin", "id": "stand-in", "expires_at": 4_000_000_000})
            await self._listen(socket)
        finally:
            self.stt_streams -= 1
        return socket

    async def _listen(self, socket: web.WebSocketResponse) -> None:
        speaking, quiet_bytes = False, 0
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                if json.loads(message.data)["type"] == "Terminate":
                    await socket.send_json({"type": "Termination", "audio_duration_seconds": 1})
                    return
                continue
            self.heard_bytes += len(message.data)
            if _is_loud(message.data):
                if not speaking:
                    await socket.send_json({"type": "SpeechStarted"})
                speaking, quiet_bytes = True, 0
            else:
                quiet_bytes += len(message.data)
            if speaking and quiet_bytes > _SILENCE_BYTES:
                speaking = False
                await socket.send_json(self._assembly_turn())

    def _assembly_turn(self) -> dict[str, Any]:
        words = [
            {"text": word, "start": 100 * at, "end": 100 * at + 90, "confidence": 0.99, "word_is_final": True}
            for at, word in enumerate(self.transcript.split())
        ]
        return {
            "type": "Turn", "turn_order": 0, "turn_is_formatted": True, "end_of_turn": True,
            "end_of_turn_confidence": 1.0, "transcript": self.transcript, "utterance": self.transcript,
            "words": words,
        }  # fmt: skip

    async def groq(self, request: web.Request) -> web.StreamResponse:
        """OpenAI's chat completions as server-sent events, a word at a time."""
        self._note(request)
        self.chat_requests.append(await request.json())
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        words = self.reply.split(" ")
        for at, word in enumerate(words):
            delta = {"role": "assistant", "content": word if at == 0 else f" {word}"}
            await self._chunk(response, {"index": 0, "delta": delta, "finish_reason": None})
        await self._chunk(response, {"index": 0, "delta": {}, "finish_reason": "stop"})
        await self._usage(response)
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _usage(self, response: web.StreamResponse) -> None:
        sent, made = self.tokens
        usage = {"prompt_tokens": sent, "completion_tokens": made, "total_tokens": sent + made}
        chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "stand-in",
                 "choices": [], "usage": usage}  # fmt: skip
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())

    async def _chunk(self, response: web.StreamResponse, choice: dict[str, Any]) -> None:
        chunk = {
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "stand-in",
            "choices": [choice],
        }  # fmt: skip
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())

    async def inworld(self, request: web.Request) -> web.WebSocketResponse:
        """Several contexts on one socket: created, sent text, flushed, closed."""
        self._note(request)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        texts: dict[str, str] = {}
        async for message in socket:
            packet = json.loads(message.data)
            context = packet["contextId"]
            if "create" in packet:
                self.tts_contexts.append(packet["create"])
                texts[context] = ""
                await self._result(socket, context, contextCreated={})
            elif "send_text" in packet:
                texts[context] += packet["send_text"]["text"]
            elif "flush_context" in packet:
                await self._speak(socket, context, texts[context])
                texts[context] = ""
            else:
                await self._result(socket, context, contextClosed={})
        return socket

    async def _speak(self, socket: web.WebSocketResponse, context: str, text: str) -> None:
        if text.strip():
            self.spoken.append(text)
            pcm = resample(*espeak.speak_to_pcm(text), to_hz=24_000).tobytes()
            for start in range(0, len(pcm), 24_000):
                audio = base64.b64encode(pcm[start : start + 24_000]).decode()
                await self._result(socket, context, audioChunk={"audioContent": audio})
        await self._result(socket, context, flushCompleted={})

    async def _result(self, socket: web.WebSocketResponse, context: str, **body: Any) -> None:
        await socket.send_json({"result": {"contextId": context, "status": {"code": 0}, **body}})


def _is_loud(pcm: bytes) -> bool:
    samples = np.frombuffer(pcm, np.int16).astype(np.float64)
    return bool(np.sqrt(np.mean(samples**2)) > _LOUD)


@contextlib.asynccontextmanager
async def providers() -> AsyncIterator[Providers]:
    """The stand-ins, served on a free port; gone at the end."""
    stand_ins = Providers()
    app = web.Application()
    app.router.add_get("/v3/ws", stand_ins.assembly)
    app.router.add_post("/openai/v1/chat/completions", stand_ins.groq)
    app.router.add_get("/tts/v1/voice:streamBidirectional", stand_ins.inworld)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    stand_ins.url = f"http://{host}:{port}"
    try:
        yield stand_ins
    finally:
        await runner.cleanup()
