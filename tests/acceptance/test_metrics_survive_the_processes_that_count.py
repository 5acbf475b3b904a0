"""Promise: each process group has one endpoint for Prometheus, whose totals never fall, whatever becomes of a pool."""

from __future__ import annotations

from pathlib import Path

import psutil

from tests.acceptance.installation import Shop
from tests.acceptance.nodes import WorkerNode
from tests.eventually import eventually

SERVED = {"STEADYBEAT_METRICS_ADDRESS": "127.0.0.1:0", "STEADYBEAT_METRICS_SECONDS": "1"}
SECRET = "hunter2-of-the-shop"
PACK = {"task": "shop.orders.pack"}


def files_of(shop: Shop) -> set[str]:
    return {each.name for each in (Path(shop.env["STEADYBEAT_HEALTH_FOLDER"])).glob("metrics-*/*")}


def succeeded(worker: WorkerNode) -> float:
    return worker.metrics().of("steadybeat_attempts_total", **PACK, service="orders", outcome="succeeded")


def test_totals_of_a_worker_stay_while_its_processes_are_killed_and_replaced(shop: Shop) -> None:
    worker, watchdog = shop.worker("orders", concurrency=2, SHOP_RUNS_PER_CHILD="4", **SERVED), shop.watchdog(**SERVED)
    assert worker.ready()
    assert watchdog.ready()
    totals, files, processes = [0.0], [], set[int]()
    for number in (1, 2):
        runs = [shop.send("orders.pack", f"{SECRET} {number}") for _ in range(9)]
        held = shop.send("orders.pack", f"held {number}", gate=f"gate {number}")
        eventually(lambda held=number: shop.starts(f"held {held}"))
        psutil.Process(shop.starts(f"held {number}")[0]["pid"]).kill()
        shop.open(f"gate {number}")
        eventually(lambda runs=(*runs, held): all(shop.run(run).state == "succeeded" for run in runs))
        eventually(lambda number=number: succeeded(worker) >= 10 * number)  # it is counted after it is on record
        totals.append(succeeded(worker))
        files.append(files_of(shop))
        started = (*shop.starts(f"{SECRET} {number}"), *shop.starts(f"held {number}"))
        processes |= {each["pid"] for each in started}

    assert totals == [0, 10, 20]
    assert len(processes) >= 6  # 22 attempts, 4 at most of each process, of which two were there at a time
    assert files[0] == files[1] != set()
    found = worker.metrics()
    assert found.of("steadybeat_attempts_total", **PACK, outcome="lost") == 2
    assert found.of("steadybeat_attempt_seconds_count", **PACK) == 20
    assert found.of("steadybeat_queue_wait_seconds_count", queue="orders") == 22
    assert found.of("steadybeat_attempt_peak_memory_bytes", **PACK) > 2**20
    assert found.of("steadybeat_ledger_away") == 0
    series = [(name, *sorted(labels.items())) for name, labels, _ in found.samples]
    assert len({*series}) == len(series)
    labels = {each for _, own, _ in found.samples for each in own}
    assert not labels & {"pid", "host", "hostname", "instance", "run_id", "tenant"}

    eventually(lambda: watchdog.metrics().has("steadybeat_queue_messages", queue="orders"))
    eventually(lambda: watchdog.metrics().of("steadybeat_runs_enqueued", queue="orders") == 0)  # read each second
    seen = watchdog.metrics()
    assert seen.of("steadybeat_instances", role="worker") == 1
    assert seen.of("steadybeat_runs_enqueued", queue="orders") == 0
    assert seen.of("steadybeat_leader") == 0
    assert SECRET not in found.text + seen.text

    worker.kill("SIGTERM")
    eventually(lambda: worker.status == "exited")
    assert files_of(shop) == set()


def test_fires_are_told_by_the_beat_that_leads_and_its_end_by_the_watchdog(shop: Shop) -> None:
    shop.deploy("tick")
    beat, watchdog = shop.beat(**SERVED), shop.watchdog(**SERVED)
    worker = shop.worker("orders", pool="threads", **SERVED)
    for each in (beat, watchdog, worker):
        assert each.ready()
    eventually(lambda: beat.leads)
    eventually(lambda: beat.metrics().of("steadybeat_fires_total", schedule="tick", state="dispatched") >= 2)
    eventually(lambda: worker.metrics().of("steadybeat_attempts_total", task="shop.orders.tick") >= 2)
    told = beat.metrics()
    assert told.of("steadybeat_beat_leads") == told.of("steadybeat_beat_terms_total") == 1
    assert told.of("steadybeat_fire_late_seconds_count") >= 2
    assert told.of("steadybeat_schedule_late_seconds_total", schedule="tick") > 0
    assert told.of("steadybeat_beat_tick_seconds_count") >= 1
    eventually(lambda: watchdog.metrics().of("steadybeat_leader") == 1)
    before = watchdog.metrics().of("steadybeat_leaderless_seconds_total")

    beat.kill("SIGKILL")

    eventually(lambda: watchdog.metrics().of("steadybeat_leader") == 0)
    eventually(lambda: watchdog.metrics().of("steadybeat_leaderless_seconds_total") > before + 2)
    eventually(lambda: watchdog.metrics().of("steadybeat_fires_overdue") > 0)
    taken = next(each["address"] for each in watchdog.events() if each["event"] == "metrics served")
    for command in ("beat", "watchdog", "worker"):
        code, said = shop.run_celery(command, STEADYBEAT_METRICS_ADDRESS=taken)
        assert code != 0 and f"steadybeat_metrics_address='{taken}': cannot be listened on" in said
    changes = watchdog.metrics().of("steadybeat_leader_changes_total")
    shop.beat()
    eventually(lambda: watchdog.metrics().of("steadybeat_leader_changes_total") == changes + 1)
    eventually(lambda: watchdog.metrics().of("steadybeat_leader") == 1)
