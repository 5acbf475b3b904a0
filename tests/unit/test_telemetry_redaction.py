"""Nothing secret reaches a line."""

from __future__ import annotations

import pytest

from steadybeat.telemetry import redact, redact_text, redaction
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
        ("https://b.example/x?sv=1&sig=a%2Fb&se=2#key=c", "https://b.example/x?sv=1&sig=***&se=2#key=***"),
        (
            "https://s3.example/x?X-Amz-Signature=abc&X-Amz-Date=1",
            "https://s3.example/x?X-Amz-Signature=***&X-Amz-Date=1",
        ),
        ("rediss://h/0?password=hunter2", "rediss://h/0?password=***"),
        ("slack://tokenA/tokenB/tokenC/#alerts", "slack://***"),
        ("mailto://me:hunter2@gmail.com and pagerduty://key@service", "mailto://*** and pagerduty://***"),
        ("https://hc-ping.com/0a1b/settle/fail?rid=7", "https://hc-ping.com/***"),
        ("https://checks.example:8000/ping/0a1b/settle", "https://checks.example:8000/***"),
        ("https://hooks.slack.com/services/T0/B0/xyz", "https://hooks.slack.com/***"),
        ("https://me:hunter2@hc-ping.com/0a1b", "https://me:***@hc-ping.com/***"),
        ("Authorization: Token hunter2 and more\nnext", "Authorization: ***\nnext"),
        ("Authorization: Bearer x {'password': 'hunter2'}", "Authorization: ***'password': ***}"),
        ("{'Authorization': 'Digest user=hunter2', 'n': 1}", "{'Authorization': ***, 'n': 1}"),
        ("Cookie: sid=hunter2; theme=dark\r\nHost: h", "Cookie: ***\r\nHost: h"),
        ("set-cookie: sid=hunter2; Path=/", "set-cookie: ***"),
        ('{"password": "a\\"hunter2", "n": 1}', '{"password": ***, "n": 1}'),
        ("<soap:Password>hunter2</soap:Password>", "<soap:Password>***</soap:Password>"),
        ("Key (api_token)=(hunter2) already exists.", "Key (api_token)=(***) already exists."),
        ("DETAIL:  Failing row contains (1, hunter2).\nCONTEXT", "DETAIL:  Failing row contains (***)\nCONTEXT"),
        ("[SQL: X]\n[parameters: ('hunter2', 7)]\n(Background", "[SQL: X]\n[parameters: ***]\n(Background"),
        ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0.c2ln end", "jwt *** end"),
        ("charged with sk_live_51Habcdefgh", "charged with ***"),
        ("{'routing_key': '0123456789abcdef0123456789abcdef'}", "{'routing_key': '***'}"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIhunter2\n-----END RSA PRIVATE KEY----- after",
            "-----BEGIN RSA PRIVATE KEY----- ***-----END RSA PRIVATE KEY----- after",
        ),
        ("before -----BEGIN PRIVATE KEY-----\nhunter2", "before -----BEGIN PRIVATE KEY----- ***"),
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
        "Key (order_id)=(7) already exists.",
        "http://flower:5555/task/019a1b7e-6c00-8d2f-9a3b-0c1d2e3f4a5b",
        "-----BEGIN CERTIFICATE-----\nMII",
        "routing_key=orders",
        "Connected to sentinel://a:26379/0;sentinel://b:26379/0",
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


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names that steadybeat_redact may hold."""
    for name in ("configured", "named"):
        monkeypatch.setattr(redaction._Names, name, getattr(redaction._Names, name))
    redaction.also(["IBAN", "card-number"])
    yield
    redaction.is_secret.cache_clear()
    redaction._positions.cache_clear()


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("iban=DE12, n=1", "iban=***, n=1"),
        ("{'customer_Iban': 'DE 12', 'ibanez': 1}", "{'customer_Iban': ***, 'ibanez': 1}"),
        ('{"card-number": 4111}', '{"card-number": ***}'),
        ("https://h/pay?iban=DE12&n=1", "https://h/pay?iban=***&n=1"),
        ("Key (iban)=(DE12) already exists.", "Key (iban)=(***) already exists."),
        ("caliban=1", "caliban=1"),
    ],
)
def test_configured_names_are_hidden_as_whole_words_of_a_name(text: str, clean: str) -> None:
    assert redact_text(text) == clean


@pytest.mark.usefixtures("configured")
def test_values_and_arguments_under_configured_names_are_hidden() -> None:
    assert redact({"IBAN": "DE12", "rows": [{"card-number": 4111, "n": 1}]}) == {
        "IBAN": "***",
        "rows": [{"card-number": "***", "n": 1}],
    }

    def pay(sale: int, iban: str, *rest: str, token: str) -> None: ...

    assert redaction.secret_positions(pay) == (1,)
    assert redaction.secret_positions(print) == ()


@pytest.mark.parametrize(
    "piece",
    [
        "password",
        "http://",
        "a:b=",
        "'\\\"",
        "x://y:z",
        "token=",
        'token="',
        "token :",
        'token=\\"',
        "slack://",
        "-----BEGIN PRIVATE KEY-----",
        "eyJaaaaaaaaa.",
        "[parameters: ",
        "Cookie: ",
        "(password",
        "<token>",
        "https://hc-ping.com/?sig=",
        "routing_key",
        "https://a/ping",
        "password_",
    ],
)
def test_a_hostile_text_of_megabytes_does_not_hold_up_the_process(piece: str) -> None:
    text = redact_text(piece * 500_000)
    assert len(text) < TEXT_LIMIT + 50
