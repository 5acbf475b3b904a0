"""What stands in ops/ about metrics speaks of metrics that there are, with the labels that they have."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from steadybeat.rules import RULES
from steadybeat.telemetry.metrics.table import FACTS, METRICS, PREFIX, Metric
from tests.acceptance.compose import load, variables
from tests.documents import ROOT, spans

GROUPS: list[dict[str, Any]] = yaml.safe_load((ROOT / "ops/prometheus/rules.yml").read_text())["groups"]
GIVEN: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule for rule in GIVEN if "alert" in rule]
RECORDED = {rule["record"]: rule["expr"] for rule in GIVEN if "record" in rule}
DASHBOARD: dict[str, Any] = json.loads((ROOT / "ops/grafana/steadybeat.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
SHOWN = [target["expr"] for panel in PANELS for target in panel["targets"]]
# Put there by Prometheus itself.
OF_THE_SCRAPE = {"job", "instance", "le"}


def metric_of(series: str) -> Metric | None:
    """The metric that a series belongs to."""
    metric = METRICS.get(series)
    if metric is not None and metric.kind != "histogram":
        return metric
    parent = METRICS.get(re.sub("_(bucket|sum|count)$", "", series))
    return parent if parent is not None and parent.kind == "histogram" and parent.name != series else None


def labels_of(series: str) -> set[str]:
    """The labels of a series, recorded ones included."""
    if series in RECORDED:
        grouped = [{*each.split(", ")} for each in re.findall(r"by \(([\w, ]+)\)", RECORDED[series])]
        return set.intersection(*grouped) - {"le"}
    metric = metric_of(series)
    assert metric is not None, f"there is no {series}"
    return {*metric.labels} | OF_THE_SCRAPE


def is_known(series: str) -> bool:
    """Whether somebody serves or records it."""
    return series in RECORDED or metric_of(series) is not None


def wrong(expression: str) -> list[str]:
    """What is wrong with an expression: series and labels that there are not, brackets that do not match."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    found = [f"{a} and {b} do not match" for a, b in ("()", "[]", "{}") if bare.count(a) != bare.count(b)]
    named = re.findall(rf"\b({PREFIX[:-1]}[_:][\w:]+)(?:\{{([^}}]*)\}})?", bare)
    found += [] if named else ["it names no metric"]
    found += [f"there is no {series}" for series, _ in named if not is_known(series)]
    known = [(series, matchers) for series, matchers in named if is_known(series)]
    for series, matchers in known:
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        found += [f"{series} has no label {label}" for label in sorted(asked - labels_of(series))]
    there = {label for series, _ in known for label in labels_of(series)}
    grouped = {label for group in re.findall(r"\bby \(([\w, ]+)\)", bare) for label in group.split(", ")}
    return found + [f"nothing in it has a label {label}" for label in sorted(grouped - there) if known]


@pytest.mark.parametrize("rule", GIVEN, ids=[rule.get("alert") or rule["record"] for rule in GIVEN])
def test_a_rule_asks_for_what_there_is(rule: dict[str, Any]) -> None:
    assert wrong(rule["expr"]) == []
    assert rule.keys() <= {"alert", "record", "expr", "for", "labels", "annotations"}


@pytest.mark.parametrize("expression", sorted({*SHOWN}))
def test_a_panel_asks_for_what_there_is(expression: str) -> None:
    assert wrong(expression) == []


@pytest.mark.parametrize("rule", ALERTS, ids=[rule["alert"] for rule in ALERTS])
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert re.fullmatch("Steadybeat[A-Z][A-Za-z]+", rule["alert"])
    assert rule["labels"] in ({"severity": "warning"}, {"severity": "critical"})
    assert rule["annotations"].keys() & {"description", "runbook"}
    if "runbook" in rule["annotations"]:
        assert Path(rule["annotations"]["runbook"]).stem in RULES
    for label in re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])):
        recorded = [name for name in RECORDED if name in rule["expr"]]
        assert label in re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", rule["expr"]))) or all(
            label in labels_of(name) for name in recorded or ["absent"]
        )


def test_every_alert_and_every_recorded_series_has_a_name_of_its_own() -> None:
    names = [rule.get("alert") or rule["record"] for rule in GIVEN]
    assert len({*names}) == len(names)
    assert all(re.fullmatch(r"steadybeat:\w+:\w+", name) for name in RECORDED)


def test_what_every_watchdog_says_is_never_added_up() -> None:
    for expression in (*(rule["expr"] for rule in GIVEN), *SHOWN):
        for metric in FACTS:
            assert not re.search(rf"\bsum (by \([^)]*\) )?\((\w+\()?{metric.name}\b", expression) or (
                "fact" in metric.labels  # whose failures are each watchdog's own
            )


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {series for expression in SHOWN for series in re.findall(rf"\b{PREFIX}\w+", expression)}
    recorded = {name for name in RECORDED if any(name in expression for expression in SHOWN)}
    shown |= {series for name in recorded for series in re.findall(rf"\b{PREFIX}\w+", RECORDED[name])}
    named = {metric.name for series in shown if (metric := metric_of(series))}
    assert METRICS.keys() - named == set()


def test_the_dashboard_can_be_imported() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len({*ids}) == len(ids)
    assert {each["name"] for each in DASHBOARD["templating"]["list"]} == {"datasource", "service"}
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24
        taken |= cells
    for panel in PANELS:
        assert panel["title"] and panel["description"].endswith(".") and panel["targets"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}


def test_the_guide_names_metrics_that_there_are() -> None:
    named = [span for span in spans("docs/metrics.md") if re.search(rf"\b{PREFIX[:-1]}[_:]\w", span)]
    settings = {"steadybeat_metrics_seconds", "steadybeat_metrics_schedules_count", "steadybeat_health_folder"}
    for span in named:
        if span not in settings and span not in METRICS:
            assert wrong(span) == []


def test_the_example_scrapes_every_container_that_serves() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    services = load(text, dict.fromkeys(variables(text), "x"))
    serving = {name for name, each in services.items() if "9464" in each.keys.get("expose", [])}
    assert serving == {name for name in services if name.startswith(("worker-", "beat", "watchdog"))}
    for name in serving:
        assert services[name].environment["STEADYBEAT_METRICS_ADDRESS"] == "0.0.0.0:9464"
    assert not services["flower"].environment["STEADYBEAT_METRICS_ADDRESS"]
    config = yaml.safe_load((ROOT / "ops/prometheus/prometheus.yml").read_text())
    scraped = {name for job in config["scrape_configs"] for found in job["dns_sd_configs"] for name in found["names"]}
    assert scraped == serving
    assert config["rule_files"] == ["rules.yml"]


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("max(steadybeat_leader)", ""),
        ("max(steadybeat_leaders)", "there is no steadybeat_leaders"),
        ("sum by (pid) (steadybeat_attempts_total)", "nothing in it has a label pid"),
        ('steadybeat_attempts_total{host="a"}', "steadybeat_attempts_total has no label host"),
        ("rate(steadybeat_attempt_seconds[5m])", "there is no steadybeat_attempt_seconds"),
        ("max(steadybeat_leader", "( and ) do not match"),
        ("up == 0", "it names no metric"),
    ],
)
def test_a_wrong_expression_is_seen(expression: str, problem: str) -> None:
    assert "; ".join(wrong(expression)) == problem
