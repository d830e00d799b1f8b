"""The agent's settings: which providers to use and which agent to run. Read from the environment."""

from __future__ import annotations

import functools

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

_HTTP = r"^https?://\S+$"
_WEBSOCKET = r"^wss?://\S+$"


class SettingsError(ValueError):
    """An environment variable has a value that cannot be used; the message names it, on one line."""


class AgentSettings(BaseSettings):
    """A provider is used when its key is set; else its offline counterpart speaks or listens."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    assembly_api_key: SecretStr | None = None
    assembly_base_url: str = Field(default="wss://streaming.assemblyai.com", pattern=_WEBSOCKET)
    assembly_model: str = "universal-3-6-pro"

    groq_api_key: SecretStr | None = None
    groq_base_url: str = Field(default="https://api.groq.com/openai/v1", pattern=_HTTP)
    groq_model: str = "llama-3.3-70b-versatile"

    inworld_api_key: SecretStr | None = None
    inworld_base_url: str = Field(default="https://api.inworld.ai/", pattern=_HTTP)
    inworld_ws_url: str = Field(default="wss://api.inworld.ai/", pattern=_WEBSOCKET)
    inworld_model: str = "inworld-tts-1.5-max"
    inworld_voice: str = "Ashley"

    @property
    def has_provider(self) -> bool:
        """Whether any part of the voice is a provider's."""
        return bool(self.assembly_api_key or self.groq_api_key or self.inworld_api_key)

    @property
    def demonstration(self) -> bool:
        """Whether any part of the voice is the offline one."""
        return not (self.assembly_api_key and self.groq_api_key and self.inworld_api_key)


_EXPECTED = {
    "assembly_base_url": "a ws:// or wss:// address",
    "groq_base_url": "an http:// or https:// address",
    "inworld_base_url": "an http:// or https:// address",
    "inworld_ws_url": "a ws:// or wss:// address",
}


@functools.cache
def load_settings() -> AgentSettings:
    """Read the environment, once for the process: the zygote before it forks.

    Raises:
        SettingsError: a variable cannot be used.
    """
    try:
        return AgentSettings()
    except ValidationError as error:
        name = str(error.errors(include_url=False, include_input=False)[0]["loc"][0])
        raise SettingsError(f"{name.upper()} must be {_EXPECTED.get(name, 'text')}") from None
