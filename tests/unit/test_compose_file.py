"""docker-compose.yml: what it claims of every service; and that our reading of it refuses what Compose refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.acceptance.compose import Refused, Service, duration, in_order, load, variables

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
ASKED = variables(TEXT)
REQUIRED = sorted(name for name, rule in ASKED.items() if rule == ":?")
GIVEN = {name: f"given{number}" for number, name in enumerate(REQUIRED)}
SERVICES = load(TEXT, GIVEN)
EVERY = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())
STAYING = [each for each in SERVICES.values() if each.name != "migrate"]
STAYS = pytest.mark.parametrize("service", STAYING, ids=[each.name for each in STAYING])


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_missing_or_empty_is_asked_for_by_name(name: str, value: str | None) -> None:
    environment = {key: text for key, text in (GIVEN | {name: value}).items() if text is not None}
    with pytest.raises(Refused, match=f"{name} is missing a value: see .env.example"):
        load(TEXT, environment)


def test_no_secret_has_a_default_or_stands_in_the_file() -> None:
    assert [
        name for name, rule in ASKED.items() if re.search("PASSWORD|SMTP|SECRET|TOKEN", name) and rule != ":?"
    ] == []
    for service in SERVICES.values():
        for key, value in service.environment.items():
            if re.search("PASSWORD|AUTH", key) or re.search("://.*@", value):
                assert any(given in value for given in GIVEN.values()), f"{service.name}.{key}"


def test_no_command_shows_a_secret() -> None:
    for service in SERVICES.values():
        words = " ".join([*service.command, *(service.health or ())])
        assert not [name for name, given in GIVEN.items() if given in words], service.name


def test_only_the_worker_that_sends_mail_knows_the_mail_server() -> None:
    assert [each.name for each in SERVICES.values() if "SMTP_URL" in each.environment] == ["worker-notifications"]


def test_the_example_of_the_environment_names_every_variable_and_fills_in_none_that_is_required() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    asked = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))
    optional = {match[1] for line in lines if (match := re.match(r"# ([A-Z_]+)=", line))}
    assert asked == dict.fromkeys(REQUIRED, "")
    assert optional == ASKED.keys() - asked.keys()


def test_the_stand_in_for_a_provider_knows_no_secret_and_keeps_its_book_on_a_volume() -> None:
    provider = SERVICES["provider"]
    assert provider.environment == {}
    assert provider.keys["networks"] == ["data"]
    [(_, folder)] = [each.split(":") for each in provider.keys["volumes"]]
    assert Path(provider.command[provider.command.index("--book") + 1]).parent == Path(folder)
    asked = {
        name: each.environment["PROVIDER_URL"] for name, each in SERVICES.items() if "PROVIDER_URL" in each.environment
    }
    assert asked == dict.fromkeys(("worker-cards", "worker-minting", "worker-sync"), "http://provider:8383")


@EVERY
def test_every_service_is_fenced_in(service: Service) -> None:
    keys = service.keys
    assert keys["read_only"] is True
    assert keys["cap_drop"] == ["ALL"]
    assert keys["security_opt"] == ["no-new-privileges:true"]
    assert keys["user"].partition(":")[0] not in ("", "0", "root")
    assert keys["mem_limit"]
    assert keys["pids_limit"]
    assert keys["logging"]["options"].keys() == {"max-size", "max-file"}
    assert not [each for each in keys.get("volumes", []) if "docker.sock" in each]


@STAYS
def test_every_service_that_stays_comes_back_and_says_whether_it_is_well(service: Service) -> None:
    assert service.keys["restart"] == "unless-stopped"
    assert service.health
    assert service.keys["healthcheck"].keys() >= {"interval", "timeout", "retries", "start_period"}


def test_the_deploy_step_runs_once_and_before_everything_of_the_platform() -> None:
    assert SERVICES["migrate"].keys["restart"] == "no"
    order = [each.name for each in in_order(SERVICES)]
    assert order[:3] == ["redis", "postgres", "migrate"]
    for service in (SERVICES[name] for name in order[3:]):
        assert service.depends_on == {
            "redis": "service_healthy",
            "postgres": "service_healthy",
            "migrate": "service_completed_successfully",
        }


@EVERY
def test_every_image_is_pinned_or_our_own(service: Service) -> None:
    own = service.image == "steadybeat:local"
    assert own or re.fullmatch(r"[a-z]+:\d+\.\d+", service.image)
    assert ("build" in service.keys) == (service.name == "migrate")  # one build; the others find its image


def test_only_flower_has_a_port_and_only_on_loopback() -> None:
    ports = {each.name: each.keys["ports"] for each in SERVICES.values() if "ports" in each.keys}
    assert ports == {"flower": ["127.0.0.1:5555:5555"]}


def test_the_servers_are_on_a_network_without_a_way_out() -> None:
    assert re.search(r"\n  data: \{ internal: true \}", TEXT)
    for name in ("redis", "postgres"):
        assert SERVICES[name].keys["networks"] == ["data"]


def test_redis_keeps_what_it_has_acknowledged_and_evicts_nothing() -> None:
    lines = SERVICES["redis"].command[-1].splitlines()
    assert {"appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction"} <= {*lines}
    assert "requirepass $REDISCLI_AUTH" in lines
    assert "redis:/data" in SERVICES["redis"].keys["volumes"]


def test_postgres_keeps_its_data_on_a_volume_and_every_commit_on_disk() -> None:
    postgres = SERVICES["postgres"]
    assert postgres.keys["volumes"] == ["postgres:/var/lib/postgresql"]  # what the image of 18 and later declares
    assert not [word for word in postgres.command if re.match("fsync|synchronous_commit|full_page_writes", word)]
    assert postgres.health is not None
    assert "127.0.0.1" in postgres.health  # not the socket of the server that prepares the volume


def test_there_are_two_beats() -> None:
    assert SERVICES["beat"].replicas == 2


SMALL = """
x-common: &common { image: "a:1.0", restart: "no" }
services:
  one:
    <<: *common
    command: run $$HOME $A ${B:-b ${A}} ${C:+c}
    healthcheck: { test: [CMD, "true"] }
  two:
    <<: *common
    depends_on: { one: { condition: service_healthy } }
"""


def test_a_small_file_is_read_as_compose_reads_it() -> None:
    services = load(SMALL, {"A": "1", "C": "x"})
    assert services["one"].command == ("run", "$HOME", "1", "b", "1", "c")
    assert services["two"].depends_on == {"one": "service_healthy"}
    assert [each.name for each in in_order(services)] == ["one", "two"]
    assert variables(SMALL.replace("${B:-b ${A}}", "${B:-}")) == {"A": "", "B": ":-", "C": ":+"}


@pytest.mark.parametrize(
    ("right", "wrong", "reason"),
    [
        ("restart:", "restarts:", "'restarts' is no key"),
        ("healthcheck: {", "healthcheck: { intervall: 1s,", "'intervall' is no key"),
        ("services:", "version: '3'\nservices:", "'version' is no key"),
        ('restart: "no"', "restart: no", "wrong type"),
        ("service_healthy", "healthy", "no condition"),
        ("depends_on: { one:", "depends_on: { once:", "stand nowhere"),
        ('    healthcheck: { test: [CMD, "true"] }\n', "", "has no health check"),
        ('test: [CMD, "true"]', 'test: ["true"]', "starts with CMD"),
        ("$$HOME", "$(pwd)", "is written"),
        ("${C:+c}", "${C", "is not closed"),
        ("${C:+c}", "${C:?say it}", "C is missing a value: say it"),
        ("$A ", "$MISSING ", "MISSING is not set"),
        ("command:", "command: twice\n    command:", "stand there twice"),
    ],
)
def test_what_compose_refuses_or_warns_of_is_refused(right: str, wrong: str, reason: str) -> None:
    assert right in SMALL
    with pytest.raises(Refused, match=re.escape(reason)):
        load(SMALL.replace(right, wrong, 1), {"A": "1"})


def test_services_that_wait_for_each_other_are_refused() -> None:
    circle = SMALL.replace("command:", "depends_on: { two: { condition: service_started } }\n    command:")
    with pytest.raises(Refused, match="wait for each other"):
        in_order(load(circle, {"A": "1"}))


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("1m30s", 90), ("2h", 7200), ("500ms", 0.5)])
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "30", "1 m", "soon"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        duration(text)
