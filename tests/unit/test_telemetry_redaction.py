"""Nothing secret reaches a line."""

from __future__ import annotations

import pytest

from steadybeat.telemetry import redact, redact_text
from steadybeat.telemetry.redaction import TEXT_LIMIT


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("postgresql://user:hunter2@db/steadybeat", "postgresql://user:***@db/steadybeat"),
        ("redis://:hunter2@localhost:6379/0", "redis://:***@localhost:6379/0"),
        ("at postgresql://u:p@ss/wo:rd@db:5432/x failed", "at postgresql://u:***@db:5432/x failed"),
        ("https://0123abcd@o1.ingest.sentry.io/7", "https://***@o1.ingest.sentry.io/7"),
        ("redis://:a@h1 redis://:b@h2", "redis://:***@h1 redis://:***@h2"),
        ("redis://:hunter1@h1,redis://:hunter2@h2", "redis://:***@h2"),
        ("http://h:80/x,redis://:hunter2@h2", "http://***@h2"),
        ("host=db user=u password=hunter2 dbname=x", "host=db user=u password=*** dbname=x"),
        ("{'api_key': 'hunter 2', 'n': 1}", "{'api_key': ***, 'n': 1}"),
        ('{\\"client_secret\\": \\"hunter2\\"}', '{\\"client_secret\\": ***}'),
        ("Authorization: Bearer hunter2", "Authorization: ***"),
        ("sent 'Bearer hunter2' to it", "sent 'Bearer ***' to it"),
        ("GET /pay?token=hunter2&sale=7", "GET /pay?token=***&sale=7"),
    ],
)
def test_a_secret_in_a_text_is_hidden_and_the_rest_stays(text: str, clean: str) -> None:
    assert redact_text(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "nothing to hide",
        "http://127.0.0.1:5555/tasks?owner=me@example.org",
        "redis://localhost:6379/0",
        "amqp://guest@localhost//",
        "mail to someone@example.org: done",
        "idempotency_key=sale:7",
        "a:b=c",
    ],
)
def test_a_text_without_secrets_is_left_as_it_is(text: str) -> None:
    assert redact_text(text) == text


def test_values_under_secret_names_are_hidden_at_every_level() -> None:
    value = {"n": 1, "DB_PASSWORD": 7, "nested": [{"sentry_dsn": "x", "url": "redis://:s@h"}], "token": None}
    assert redact(value) == {
        "n": 1,
        "DB_PASSWORD": "***",
        "nested": [{"sentry_dsn": "***", "url": "redis://:***@h"}],
        "token": None,
    }


def test_a_value_that_holds_itself_or_cannot_be_printed_ends_as_text() -> None:
    class Rude:
        def __str__(self) -> str:
            raise RuntimeError("no")

    endless: list[object] = []
    endless.append(endless)
    assert "[...]" in str(redact(endless))
    assert redact(Rude()) == "<Rude that cannot be printed>"


def test_a_long_text_is_cut_and_says_so() -> None:
    text = redact_text("x" * (TEXT_LIMIT + 5))
    assert text.endswith("… 5 more characters")


@pytest.mark.parametrize("piece", ["password", "http://", "a:b=", "'\\\"", "x://y:z", "token=", 'token="', "token :"])
def test_a_hostile_text_of_megabytes_does_not_hold_up_the_process(piece: str) -> None:
    text = redact_text(piece * 500_000)
    assert len(text) < TEXT_LIMIT + 50
