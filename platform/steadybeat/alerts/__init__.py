"""Alerts: what people are told: which findings become alerts, who is told of them, how, and until when."""
