"""The catalogue as docker-compose.yml runs it, audited with the variables that docs/deploy.md names."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from steadybeat.audit import LINES
from steadybeat.ledger import Ledger
from tests.acceptance.compose import load, variables

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
FOUR = {"ALERTS_TEAM_URL", "ALERTS_ONCALL_URL", "STEADYBEAT_HEARTBEAT_URL", "STEADYBEAT_PLATFORM_HEARTBEAT_URL"}
PROVEN = {"4.6", "4.7", "4.8"}  # what a probe has shown, and no configuration

ASKED = """
import json
from tasks import app
from steadybeat.audit.auditing import audit, subjects
from steadybeat.audit.surroundings import Surroundings
app.loader.import_default_modules()
app.finalize()
found = audit(Surroundings(app), subjects(app))
print(json.dumps([[each.line, each.subject, each.verdict, each.evidence] for each in found.findings]))
"""


def documented() -> dict[str, str]:
    """Return what the guide has people put into .env, beside what Compose insists on."""
    page = (ROOT / "docs" / "deploy.md").read_text()
    block = re.search(r"cat >> \.env <<'END'\n(.*?)\nEND", page, re.DOTALL)
    assert block is not None
    return dict(shlex.split(line)[0].split("=", 1) for line in block[1].splitlines())


def environment(given: dict[str, str], ledger_url: str, redis_url: str) -> dict[str, str]:
    """Return the environment of a container, beside servers of this test."""
    needed = {name: "given" for name, rule in variables(COMPOSE).items() if rule == ":?"}
    services = load(COMPOSE, needed | given)
    servers = {"STEADYBEAT_DATABASE_URL": ledger_url, "STEADYBEAT_REDIS_URL": redis_url}
    paths = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    return {**services["beat"].environment, **servers, **paths}


def run(argv: list[str], env: dict[str, str]) -> str:
    ran = subprocess.run(argv, env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def audited(env: dict[str, str]) -> list[list[str]]:
    """Return what the audit finds: line, task, verdict, evidence."""
    found: list[list[str]] = json.loads(run([sys.executable, "-c", ASKED], env))
    return [each for each in found if each[0] not in PROVEN]


@pytest.fixture
def deployed(ledger: Ledger, ledger_url: str, redis_url: str) -> Any:
    """Deploy the catalogue with some variables, and let what docker-compose.yml starts live."""

    def deploy(given: dict[str, str]) -> dict[str, str]:
        env = environment(given, ledger_url, redis_url)
        run([sys.executable, "-m", "celery", "-A", "tasks", "schedules", "apply"], env)
        for number, role in enumerate(("beat", "beat", "watchdog", "worker")):
            ledger.instances.sign_of_life(str(uuid.uuid4()), role=role, host=f"host-{number}", pid=1, release="0")
        return env

    return deploy


def test_it_passes_every_line_that_can_be_asked_of_it(deployed: Any) -> None:
    given = documented()
    assert given.keys() == FOUR

    found = audited(deployed(given))

    assert {each[0] for each in found} == {*LINES} - PROVEN
    assert [each for each in found if each[2] not in {"PASS", "N/A"}] == []
    asked = {each[0] for each in found if each[2] == "PASS"}
    assert {each[0] for each in found} - asked == {"2.10"}  # one Redis keeps the locks


def test_without_those_variables_it_starts_and_the_audit_says_who_is_not_told(deployed: Any) -> None:
    found = audited(deployed({}))

    failed = {each[0] for each in found if each[2] not in {"PASS", "N/A"}}
    assert failed == {"2.7", "3.1", "3.2", "3.3", "3.4", "3.5", "3.6", "3.7", "3.8", "3.9", "3.10", "5.3", "7.6"}


def test_ways_to_people_may_be_given_as_settings_instead(deployed: Any) -> None:
    monitors = {name: url for name, url in documented().items() if "HEARTBEAT" in name}
    channels = {"ops": "json://ops.example", "oncall": "json://oncall.example"}
    routes = [{"owner": "*-team", "to": ["ops"], "escalate": [{"after": "15m", "to": ["oncall"]}]}, {"to": ["oncall"]}]
    settings = {"STEADYBEAT_ALERT_CHANNELS": json.dumps(channels), "STEADYBEAT_ALERT_ROUTES": json.dumps(routes)}

    found = audited(deployed({**monitors, **documented(), **settings}))

    assert [each for each in found if each[2] not in {"PASS", "N/A"}] == []
