from __future__ import annotations

from orm import Model


class Order(Model):
    """An order."""


class Invoice(Model):
    """An invoice."""
