"""Speech from text, offline: espeak-ng as a livekit-agents TTS."""

from __future__ import annotations

from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions, tts, utils
from typing_extensions import override

from speech import espeak


class EspeakTTS(tts.TTS[str]):
    """Speaks a sentence at a time. A second of speech is computed in about a millisecond."""

    def __init__(self, *, voice: str | None = None, language: str | None = None) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=False),
            sample_rate=espeak.sample_rate(),
            num_channels=1,
        )
        self.voice = espeak.choose_voice(voice, language)

    @property
    @override
    def model(self) -> str:
        return "espeak-ng"

    @property
    @override
    def provider(self) -> str:
        return "offline"

    @override
    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        return _Speech(self, text, conn_options)


class _Speech(tts.ChunkedStream):
    def __init__(self, speaker: EspeakTTS, text: str, conn_options: APIConnectOptions) -> None:
        super().__init__(tts=speaker, input_text=text, conn_options=conn_options)
        self._voice = speaker.voice

    @override
    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(
            request_id=utils.shortuuid(),
            sample_rate=self._tts.sample_rate,
            num_channels=1,
            mime_type="audio/pcm",
        )
        pcm, _ = espeak.speak_to_pcm(self._input_text, self._voice)
        output_emitter.push(pcm)
        output_emitter.flush()
