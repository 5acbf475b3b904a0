"""Alerts: what people are told: which findings become alerts, who is told of them, how, and until when."""

from __future__ import annotations

from steadybeat.alerts.life import Alerts

__all__ = ["Alerts"]
