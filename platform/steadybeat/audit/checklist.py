"""The lines of the checklist: what a team must be able to say yes to for every scheduled job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SECTIONS: Mapping[int, str] = {
    1: "Job definition",
    2: "Locking and single execution",
    3: "Monitoring and alerting",
    4: "Idempotency",
    5: "Errors and shutdown",
    6: "Runtime",
    7: "Many instances",
    8: "Tenants and fan-out",
}
"""What the lines of each section are about, by its number."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        number: Such as ``2.3``: its section, and its place there.
        text: What must be so.
    """

    number: str
    text: str

    @property
    def section(self) -> int:
        """The number of its section."""
        return int(self.number.partition(".")[0])


LINES: Mapping[str, Line] = {
    line.number: line
    for line in (
        Line("1.1", "unique, stable name"),
        Line("1.2", "schedule explained in words"),
        Line("1.3", "time zone explicit (UTC unless stated)"),
        Line("1.4", "not in the hours that daylight saving skips or repeats, or with a stated policy"),
        Line("1.5", "purpose documented"),
        Line("1.6", "time limit set"),
        Line("1.7", "memory limit set"),
        Line("1.8", "retry policy set (count and back-off)"),
        Line("1.9", "dependencies declared (and reachable, live)"),
        Line("2.1", "no run without its turn (lock or lease)"),
        Line("2.2", "lock key unique per task (or per key)"),
        Line("2.3", "lock and lease outlive the longest attempt, with margin"),
        Line("2.4", "released on every way out"),
        Line("2.5", "extended while long work runs"),
        Line("2.6", "a lock that is held makes the run skip or wait, by stated policy"),
        Line("2.7", "a failed release is logged and alerted"),
        Line("2.8", "behaviour without Redis defined: skip rather than run twice"),
        Line("2.9", "unique token per acquisition; nobody releases another's lock"),
        Line("2.10", "quorum locks over independent Redis nodes (Redlock, with drift margin) where configured"),
        Line("2.11", "fencing: an expired holder cannot commit"),
        Line("3.1", "start signal"),
        Line("3.2", "success signal"),
        Line("3.3", "failure signal"),
        Line("3.4", "grace period set"),
        Line("3.5", "the monitor is external to Redis, Postgres and the workers"),
        Line("3.6", "missed fires alerted"),
        Line("3.7", "failures alerted"),
        Line("3.8", "slow runs alerted (against the task's own history)"),
        Line("3.9", "alerts go to the owner"),
        Line("3.10", "unacknowledged alerts escalate"),
        Line("3.11", "run history visible"),
        Line("3.12", "duration trend kept"),
        Line("3.13", "failure rate computed from runs"),
        Line("3.14", "all jobs in one view, joined by correlation id"),
        Line("4.1", "unique run id"),
        Line("4.2", "state checked before the effect"),
        Line("4.3", "state changes atomic"),
        Line("4.4", "upserts where rows are written"),
        Line("4.5", "external calls carry an idempotency key"),
        Line("4.6", "proven: run twice, one effect"),
        Line("4.7", "proven: killed in the middle, resumed"),
        Line("4.8", "proven: concurrent, one effect"),
        Line("5.1", "nothing escapes unhandled (crash containment around scheduler and task)"),
        Line("5.2", "errors logged with run id, task, stack"),
        Line("5.3", "errors raise alerts"),
        Line("5.4", "partial progress recorded"),
        Line("5.5", "retry count bounded"),
        Line("5.6", "exponential back-off with jitter"),
        Line("5.7", "retryable and permanent errors told apart"),
        Line("5.8", "dead letters exist and can be replayed"),
        Line("5.9", "SIGTERM: current work finishes or checkpoints, no new work starts"),
        Line("5.10", "unfinished work is on record and resumes"),
        Line("5.11", "locks freed on shutdown"),
        Line("6.1", "maintained scheduler library"),
        Line("6.2", "schedules and queue survive restarts"),
        Line("6.3", "large inputs streamed, not loaded"),
        Line("6.4", "memory watched, and bounded"),
        Line("6.5", "long loops yield (heartbeat, cancellation, shutdown checks)"),
        Line("6.6", "jobs run outside the web process"),
        Line("6.7", "CPU-heavy work cannot block the scheduler"),
        Line("6.8", "hung children are killed"),
        Line("7.1", "one execution however many instances"),
        Line("7.2", "any worker may run any job of its queue"),
        Line("7.3", "instance id in every log line and run"),
        Line("7.4", "scheduler fails over"),
        Line("7.5", "a dead holder blocks nobody for longer than its time limit"),
        Line("7.6", "health checks see a stuck instance"),
        Line("7.7", "workers scale without schedulers"),
        Line("7.8", "contention bounded (concurrency per task, per tenant, per queue)"),
        Line("7.9", "connection pools bounded"),
        Line("8.1", "eligibility decided by policy, outside the job's query"),
        Line("8.2", "skipped tenants logged with the reason"),
        Line("8.3", "order shuffled, so that an interrupted batch does not always starve the same tenants"),
        Line("8.4", "concurrency bounded by configuration"),
        Line("8.5", "one tenant's failure leaves the others alone"),
        Line("8.6", "shutdown starts no new tenants, and lists the ones not done"),
        Line("8.7", "only failed tenants are retried"),
        Line("8.8", "fires spread over a window instead of the round second"),
        Line("8.9", "tenant and job identity in every log line and error report"),
    )
}
"""Every line by its number, in order."""
