"""The way to the provider: what PROVIDER_URL may say, and what the provider's answers mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import format_datetime

import pytest

from steadybeat import Permanent, Transient
from tasks import gateway


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "PROVIDER_URL is not set: write it like https://"),
        ("ftp://provider.example", "is no address of a provider"),
        ("https://", "is no address of a provider"),
        ("https://provider.example:port", "PROVIDER_URL cannot be read"),
        ("https://secret@provider.example", "is no address of a provider"),
        ("https://provider.example?key=secret", "is no address of a provider"),
    ],
)
def test_a_wrong_address_is_named_without_what_may_be_secret(
    monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setenv("PROVIDER_URL", url)

    with pytest.raises(gateway.GatewaySettingWrong, match=said) as caught:
        gateway.provider_url()

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, gateway.Refused),
        (401, Permanent),
        (404, gateway.NotFound),
        (408, Transient),
        (409, Transient),
        (410, gateway.NotDone),
        (422, gateway.Refused),
        (429, gateway.NotDone),
        (500, Transient),
        (503, Transient),
    ],
)
def test_only_what_is_certain_counts_as_done_or_not_done(status: int, kind: type[Exception]) -> None:
    assert type(gateway._meant("POST /x", status, "reason", Message())) is kind


def test_retry_after_is_read_as_seconds_or_as_a_date_and_bounded() -> None:
    def wait(text: str) -> timedelta | None:
        headers = Message()
        headers["Retry-After"] = text
        meant = gateway._meant("POST /x", 429, "reason", headers)
        assert isinstance(meant, Transient)
        return meant.after

    soon = wait(format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True))
    assert soon is not None
    assert timedelta(minutes=9) < soon <= timedelta(minutes=10)
    assert wait("Wed, 21 Oct 2015 07:28:00 GMT") == timedelta()
    assert wait("7") == timedelta(seconds=7)
    assert wait("9" * 30) == timedelta(hours=1)
    assert [wait(text) for text in ("", "soon", "-1", "1.5")] == [None] * 4
