"""The names that platforms' files may set are the settings' own."""

from __future__ import annotations

from tests.deploy.settings_names import known_variables


def test_settings_of_the_orchestrator_and_of_the_agent_are_known() -> None:
    assert {"REDIS_URL", "MAX_BOTS", "DRAIN_ON_TERM", "GROQ_API_KEY", "INWORLD_VOICE"} <= known_variables()


def test_a_setting_with_more_than_one_name_is_known_by_each() -> None:
    assert {"HOST_ID", "RAILWAY_REPLICA_ID"} <= known_variables()


def test_what_nobody_reads_is_not_known() -> None:
    assert not {"REDIS_UR", "MAX_BOT", "redis_url"} & known_variables()
