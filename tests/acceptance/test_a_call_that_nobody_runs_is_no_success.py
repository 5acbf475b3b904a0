"""Promise: `celery call` of a task that nobody has, or to a queue that nobody consumes, does not look like success."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.acceptance.installation import PROJECT, Shop
from tests.eventually import eventually

# As where only steadybeat is installed, and no package whose commands import an app.
ALONE = """
import importlib.metadata as metadata
every = metadata.entry_points
metadata.entry_points = lambda **wanted: [one for one in every(**wanted) if one.dist.name == "steadybeat"]
from celery.bin.celery import main
main()
"""


def typed(shop: Shop, *arguments: str, **env: str) -> tuple[int, str, str]:
    """Exit code, output and errors of `celery …`, typed with no more than what is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STEADYBEAT_", "CELERY_"))}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *arguments], cwd=PROJECT, env={**kept, **shop.env, **env},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_with_an_app_its_ledger_knows(shop: Shop) -> None:
    worker = shop.worker("orders")
    assert worker.ready()
    for given, env in ((("-A", "shop"), {}), ((), {"CELERY_APP": "shop"})):
        code, said, error = typed(shop, *given, "call", "shop.orders.pakc", **env)
        assert (code, said) == (2, "")
        assert error.startswith("Error: NAME='shop.orders.pakc': there is no such task; nothing was sent.")
        assert "Did you mean 'shop.orders.pack'?" in error

        code, said, error = typed(shop, *given, "call", "shop.orders.pack", "-a", '["taken"]', **env)
        assert (code, error) == (0, "")
        run = said.strip()
        eventually(lambda run=run: shop.run(run).state == "succeeded")  # type: ignore[misc]

        code, said, error = typed(shop, *given, "call", "shop.mail.post", **env)
        run = said.strip()
        assert (code, shop.run(run).state) == (1, "enqueued")
        assert error == (
            f"Run {run} waits. No worker consumes from queue 'mail'. None ever did."
            " Start one: celery -A … worker -Q mail\n"
        )


def test_a_worker_that_was_killed_is_named_once_its_lease_is_over(shop: Shop) -> None:
    worker = shop.worker("orders")
    assert worker.ready()
    worker.kill()

    def named() -> bool:
        code, _, error = typed(shop, "-A", "shop", "call", "shop.orders.pack", "-a", '["late"]')
        return code == 1 and "No worker consumes from queue 'orders'. The last was " in error

    assert eventually(named)


def test_without_an_app_the_workers_at_the_broker_are_asked(shop: Shop) -> None:
    code, _, error = typed(shop, "call", "shop.orders.pack")
    assert code == 2
    assert error == (
        "Error: No app is given, and no broker; nothing was sent. Name your app before the sub-command: celery -A"
        " tasks call shop.orders.pack\n"
    )
    broker = ("-b", shop.env["STEADYBEAT_REDIS_URL"])
    code, said, error = typed(shop, *broker, "call", "shop.orders.pack", "--queue", "orders")
    assert code == 1
    assert error.startswith(f"Run {said.strip()} waits. No worker at this broker consumes from queue 'orders'.")

    worker = shop.worker("orders")
    assert worker.ready()
    call = (*broker, "call", "--queue", "orders", "-a", '["asked"]')
    code, said, error = typed(shop, *call, "shop.orders.pakc")
    assert (code, said) == (2, "")
    assert "Did you mean 'shop.orders.pack'?" in error
    code, said, error = typed(shop, *call, "shop.orders.pack")
    assert (code, error) == (0, "")
    assert eventually(lambda: len(shop.starts("asked")) == 1)
    assert typed(shop, *broker, "call", "shop.orders.pack")[0] == 1  # to `celery`, Celery's own default queue


def test_without_a_broker_it_is_one_line(shop: Shop) -> None:
    code, said, error = typed(shop, "-b", "redis://127.0.0.1:1/0", "call", "shop.orders.pack")
    assert (code, said) == (2, "")
    assert error.startswith("Error: The broker does not answer: ")
    assert error.endswith(" Nothing was sent.\n")
