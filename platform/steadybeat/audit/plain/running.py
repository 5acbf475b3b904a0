"""Running: section 6, runtime, of a plain application."""

from __future__ import annotations

import importlib.metadata

from steadybeat.audit.answer import Answer, failed, not_applicable, partly, passed, unknown
from steadybeat.audit.plain.asking import hard_limit, in_web_process, is_redis, not_prefork, unread, working_loops
from steadybeat.audit.plain.checking import check
from steadybeat.audit.plain.program import Job, Program
from steadybeat.audit.plain.repeated import called_as

MAINTAINED = {
    "celery.beat": "celery",
    "redbeat": "celery-redbeat",
    "django_celery_beat": "django-celery-beat",
    "sqlalchemy_celery_beat": "sqlalchemy-celery-beat",
    "celery_aio_pool": "celery-aio-pool",
}
"""Schedulers that somebody maintains, by their package, and the distribution that has them."""

SEPARATE = "Start Beat by itself: celery -A … beat, one line of the Procfile or one container."


@check("6.1")
def scheduler(job: Job, program: Program) -> Answer:
    """Maintained scheduler library."""
    loops = [each for each in program.calls if each.name.startswith("schedule.run_pending")]
    if loops:
        return failed(
            f"{loops[0].written}() at {loops[0].place}: a loop of its own", "Use Celery's Beat, with RedBeat."
        )
    if not job.entries and not program.keeps_schedules_elsewhere:
        return not_applicable("beat_schedule has no entry for it")
    written = str(program.conf.beat_scheduler)
    package = next((each for each in MAINTAINED if written.startswith(each)), None)
    if package is None:
        return unknown(
            f"beat_scheduler={written!r}", "Who maintains it? Celery's own, RedBeat and django-celery-beat are."
        )
    try:
        version = importlib.metadata.version(MAINTAINED[package])
    except importlib.metadata.PackageNotFoundError:
        return failed(
            f"beat_scheduler={written!r}: {MAINTAINED[package]} is not installed", f"pip install {MAINTAINED[package]}"
        )
    return passed(f"beat_scheduler={written!r}, {MAINTAINED[package]} {version}")


@check("6.2")
def survive(job: Job, program: Program) -> Answer:
    """Schedules and queue survive restarts."""
    url = str(program.conf.broker_url or "amqp://")
    kind = url.partition(":")[0]
    if kind in {"memory", "filesystem"}:
        return failed(f"broker_url={kind}://…: messages go with the process", "Use RabbitMQ or Redis.")
    if is_redis(program):
        return unknown(
            "broker: Redis; whether it keeps what it has is set there",
            "Run redis-cli CONFIG GET appendonly, and CONFIG GET maxmemory-policy: they must say yes, and noeviction.",
        )
    if kind in {"amqp", "amqps", "pyamqp"}:
        if int(program.conf.task_default_delivery_mode) == 2:
            return passed(f"broker: {kind}, task_default_delivery_mode=2 (persistent); schedules stand in the code")
        return failed(
            f"task_default_delivery_mode={program.conf.task_default_delivery_mode}: not on disk", "Set it to 2."
        )
    return passed(f"broker: {kind}, which keeps messages by itself; schedules stand in the code")


@check("6.3")
def streamed(job: Job, program: Program) -> Answer:
    """Large inputs streamed, not loaded."""
    if not job.source.known:
        return unknown(unread(job), "Read the code: does it load whole inputs?")
    loaded = job.source.loaded
    if loaded:
        call = loaded[0]
        return failed(
            f"{call.written[-80:]}() at {call.place}: all of it at once",
            "Go through it in pieces: yield_per(500), .iterator(), fetchmany(), chunksize=.",
        )
    if job.source.batched:
        return passed(f"{job.source.batched[0].written[-80:]}() at {job.source.batched[0].place}")
    reads = [each for each in job.source.statements if not each.changes]
    if not reads and not working_loops(job):
        return not_applicable("it reads no input of many rows")
    return passed(f"nothing is loaded whole: {len(reads)} reads, {len(job.source.loops)} loops were looked at")


@check("6.4")
def memory(job: Job, program: Program) -> Answer:
    """Memory watched, and bounded."""
    conf = program.conf
    if conf.worker_max_memory_per_child and not not_prefork(program):
        return passed(f"worker_max_memory_per_child={conf.worker_max_memory_per_child} KiB: looked at after each task")
    if conf.worker_max_tasks_per_child and not not_prefork(program):
        return partly(
            f"worker_max_tasks_per_child={conf.worker_max_tasks_per_child}: what leaks is given back, not bounded",
            "Set worker_max_memory_per_child.",
        )
    return failed(
        "worker_max_memory_per_child=None, worker_max_tasks_per_child=None",
        "Set worker_max_memory_per_child, in KiB, and use prefork.",
    )


@check("6.5")
def yields(job: Job, program: Program) -> Answer:
    """Long loops yield (heartbeat, cancellation, shutdown checks)."""
    if not job.source.known:
        return unknown(unread(job), "Read the code: has it long loops?")
    loops = working_loops(job)
    if not loops:
        return not_applicable("it has no loop in which anything is done")
    deaf = [each for each in loops if not job.source.asks_to_stop(each)]
    if deaf:
        head = f"while {deaf[0].over}" if deaf[0].kind == "while" else f"for … in {deaf[0].over}"
        return failed(
            f"{head[:90]} ({deaf[0].place}): never asks whether to go on",
            "Ask in each round: AbortableTask.is_aborted(), or send a task for each part and end.",
        )
    return passed(f"asks whether to go on in {loops[0].place}")


@check("6.6")
def outside_web(job: Job, program: Program) -> Answer:
    """Jobs run outside the web process."""
    if web := in_web_process(program):
        return failed(web, "Start workers by themselves: celery -A … worker.")
    names = called_as(job)
    own = {each.source.place.partition(":")[0] for each in program.jobs}
    direct = [each for each in program.calls if each.name in names and each.place.partition(":")[0] not in own]
    if direct:
        return failed(
            f"called as a function at {direct[0].place}: it runs there", f"Send it: {direct[0].written}.delay(…)."
        )
    workers = [each for each in program.commands if each.is_worker]
    if workers:
        return passed(f"{workers[0].text[:90]} ({workers[0].place}); no module starts a worker or calls it")
    return passed("task_always_eager=False; no module starts a worker, or calls it as a function")


@check("6.7")
def not_blocked(job: Job, program: Program) -> Answer:
    """CPU-heavy work cannot block the scheduler."""
    return scheduler_apart(program)


def scheduler_apart(program: Program) -> Answer:
    """Return whether Beat is a process of its own."""
    if web := in_web_process(program):
        return failed(web, SEPARATE)
    embedded = [each for each in program.commands if each.embeds_beat]
    if embedded:
        return failed(f"{embedded[0].text[:90]} ({embedded[0].place}): Beat inside a worker", SEPARATE)
    alone = [each for each in program.commands if each.is_beat]
    if alone:
        return passed(f"{alone[0].text[:90]} ({alone[0].place})")
    if not program.entries and not program.keeps_schedules_elsewhere:
        return not_applicable("beat_schedule is empty: there is no scheduler")
    return unknown(
        "no file beside the code says how Beat is started",
        "Look: ps -ef | grep 'celery.*beat'. It must not be a worker with -B.",
    )


@check("6.8")
def killed(job: Job, program: Program) -> Answer:
    """Hung children are killed."""
    limit, where = hard_limit(job, program)
    if limit is None:
        soft = job.task.soft_time_limit or program.conf.task_soft_time_limit
        also = f"; soft_time_limit={soft} is raised in the child, which may hang in C" if soft else ""
        return failed(f"{where}{also}", "Set time_limit=, and a pool of processes.")
    if pool := not_prefork(program):
        return failed(f"{where}, and in a pool of {pool} nothing can be killed", "Use worker_pool='prefork'.")
    return passed(f"{where}, worker_pool='prefork'")
