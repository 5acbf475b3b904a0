from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from steadybeat.errors import ConfigurationError, UnknownSetting
from steadybeat.settings import Settings


def read(environ: dict[str, str] | None = None, **conf: Any) -> Settings:
    return Settings.read({f"steadybeat_{key}": value for key, value in conf.items()}, environ or {})


def test_an_unknown_setting_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UnknownSetting, match=r"steadybeat_lease_second: there is no such setting\. Did you mean "):
        read(lease_second=3)


def test_the_environment_wins_over_the_configuration() -> None:
    assert read({"STEADYBEAT_LEASE_SECONDS": "7.5"}, lease_seconds=3).lease_seconds == 7.5


def test_an_empty_variable_says_nothing() -> None:
    assert read({"STEADYBEAT_LEASE_SECONDS": ""}).lease_seconds == Settings().lease_seconds


def test_keys_of_others_are_left_alone() -> None:
    assert Settings.read({"broker_url": "redis://elsewhere"}, {"STEADYBEAT_PORT": "tcp://10.0.0.1"}) == Settings()


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"lease_seconds": "soon"}, "steadybeat_lease_seconds='soon': must be a number of seconds, such as 15.0."),
        ({"lease_seconds": True}, "steadybeat_lease_seconds=True: must be a number of seconds, such as 15.0."),
        ({"rescue_count": 1.5}, "steadybeat_rescue_count=1.5: must be a whole number, such as 100."),
        ({"services": 3}, "steadybeat_services=3: must be a list of names, such as ()."),
        (
            {"database_url": 3},
            "steadybeat_database_url=3: must be a text, such as 'postgresql://localhost/steadybeat'.",
        ),
        ({"crash_count": 0}, "steadybeat_crash_count=0: must be at least 1."),
        (
            {"database_url": "mysql://me:secret@localhost/steadybeat"},
            "steadybeat_database_url: must be a URL such as postgresql://user:password@host:5432/name.",
        ),
        ({"keeper_seconds": 20}, "steadybeat_keeper_seconds=20: must be less than steadybeat_lease_seconds=15."),
    ],
)
def test_a_wrong_value_names_the_setting_the_value_and_the_way_out(conf: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(**conf)
    assert str(caught.value) == message
    assert caught.value.exit_code == 2


def test_names_may_stand_in_one_variable() -> None:
    assert read({"STEADYBEAT_SERVICES": "orders, search"}).services == ("orders", "search")


def test_settings_cannot_be_changed_once_read() -> None:
    with pytest.raises(AttributeError):
        Settings().lease_seconds = 1.0  # type: ignore[misc]


def test_every_setting_says_in_one_sentence_what_it_is() -> None:
    for spec in fields(Settings):
        assert spec.metadata["text"].endswith(".")
        assert spec.type != "float" or spec.name.endswith(("_seconds", "_factor", "_share"))


def test_channels_and_routes_are_json_in_the_environment() -> None:
    environ = {
        "STEADYBEAT_ALERT_CHANNELS": '{"ops": "json://token@host"}',
        "STEADYBEAT_ALERT_ROUTES": '[{"to": ["ops"]}]',
    }
    settings = read(environ)
    assert settings.alert_channels == {"ops": "json://token@host"}
    assert settings.alert_routes == ({"to": ["ops"]},)
    assert "token" not in repr(settings)
    assert read(alert_channels={"ops": "json://host"}, alert_routes=[{"to": "ops"}]).alert_routes == ({"to": "ops"},)


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("channels", "{token", "names, each with a text"),
        ("channels", '["token"]', "names, each with a text"),
        ("channels", '{"token": 3}', "names, each with a text"),
        ("routes", '{"token": 3}', "a list of routes"),
        ("routes", '["token"]', "a list of routes"),
    ],
)
def test_a_wrong_document_is_refused_and_not_shown(name: str, value: str, kind: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read({f"STEADYBEAT_ALERT_{name.upper()}": value})
    assert str(caught.value).startswith(f"STEADYBEAT_ALERT_{name.upper()}: must be {kind}, as JSON in the environment")
    assert "token" not in str(caught.value)


def test_a_process_in_a_scratch_place_tells_nobody_of_its_runs() -> None:
    told = {
        "STEADYBEAT_SENTRY_DSN": "https://key@sentry.example/1",
        "STEADYBEAT_HEARTBEAT_URL": "https://monitor.example/{schedule}",
        "STEADYBEAT_PLATFORM_HEARTBEAT_URL": "https://monitor.example/platform",
        "STEADYBEAT_OTLP_URL": "http://collector.example:4318",
        "STEADYBEAT_METRICS_ADDRESS": "127.0.0.1:9464",
        "STEADYBEAT_ALERT_CHANNELS": '{"ops": "json://ops.example"}',
        "STEADYBEAT_REPORT_AT": "07:00",
    }
    live, scratch = Settings.read({}, told), Settings.read({}, {**told, "STEADYBEAT_SCRATCH_FOLDER": "/tmp/place"})
    for variable in told:
        name = variable.removeprefix("STEADYBEAT_").lower()
        assert getattr(live, name), name
        assert not getattr(scratch, name), name
