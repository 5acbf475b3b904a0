"""What Prometheus would read of an endpoint."""

from __future__ import annotations

import urllib.request
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Scrape:
    """One answer: its text, and the samples in it as name, labels and value."""

    text: str
    samples: list[tuple[str, dict[str, str], float]]

    def of(self, name: str, **labels: str) -> float:
        """The sum of the samples of a name that have these labels; there must be one at least."""
        found = [value for each, own, value in self.samples if each == name and labels.items() <= own.items()]
        assert found, f"no {name} with {labels} in:\n{self.text}"
        return sum(found)

    def has(self, name: str, **labels: str) -> bool:
        """Whether there is a sample of a name that has these labels."""
        return any(each == name and labels.items() <= own.items() for each, own, _ in self.samples)


def scraped(address: str) -> Scrape:
    """Ask an endpoint, given as host and port, and read the answer."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return Scrape(text, [(each.name, each.labels, each.value) for family in families for each in family.samples])
