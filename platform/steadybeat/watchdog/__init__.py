"""Watchdog: keeps work moving without a Beat, and sees what is missing, late, stuck or slow.

process      Watchdog: the process, and what it does at each tick
watching     Watch: one look at the ledger every few seconds, from a thread of its own
seeing       which function sees what is wrong by which rule
looking      what the rules of one pass share
remembering  what one pass leaves to the next
usual        what earlier runs say of the next one
fires, schedules, runs, workers, platform
             the rules, by what they are about
heartbeat    PlatformHeartbeat: tells a monitor elsewhere that the platform goes on
facts        figures of the ledger and of the queues, for metrics

What it sees it reads from the ledger alone, so that it sees it while every Beat and Redis are dead. Any number may run;
of those one watches, and another takes over when it dies. Settings are ``steadybeat_<name>``:

    rule               it is seen when                                 it resolves when                 settings
    -----------------  ----------------------------------------------  -------------------------------  --------------
    no_leader          there are schedules, and no Beat is heard of    one leads                        leaderless_
                       that leads                                                                       seconds
    relay_stalled      a message in the outbox is so long past its     it is sent                       stalled_seconds
                       time
    worker_silent      a worker's lease has passed and it has not      it is heard of; a worker that    lease_seconds
                       signed off                                      came later consumes all of its
                                                                       queues; an hour has passed
    no_consumer        a run waits so long on a queue from which no    somebody consumes, or nothing    stalled_seconds
                       living worker has consumed for so long          waits
    not_consuming      a worker lives, its queue answers no canary     a canary is answered, or a run   canary_seconds
                       for so long, no run of it goes on or has begun  begins
                       since, and its workers have places left
    queue_stalled      a run waits so long, a worker lives, and in     a run begins, or nothing waits   stalled_seconds
                       that time none of the queue went on or began
    missed             a fire is so long past its time and nothing     it is dispatched; of one that    missed_seconds
                       has become of it; or it was decided to be       was missed for good, a later
                       missed, as its catch_up says                    one is, or a day has passed
    late               the run of a fire began so long after it was    the next begins in time; or a    late_seconds,
                       due, or waits for longer                        day has passed                   late_after=
    never_started      a fire was dispatched so long ago, and no       an attempt begins                never_started_
                       attempt of its run has begun                                                     seconds
    failed             so many runs of a schedule in a row are dead    one succeeds                     failures_before
                                                                                                        _alert=
    paused             a schedule is paused                            it is resumed
    slower             the last run took so many times as long as      one takes as long as usual; or   slower_factor,
                       95 % of the (up to 200) runs of four weeks,     it has been usual for a day      slower_seconds
                       and not less than a floor
    empty              the last run that succeeded breaks expect=      one keeps it                     expect=
    running_too_long   an attempt goes on past its time limit, or for  it has ended                     slower_factor,
                       twice as long as a run takes that is slower                                      slower_seconds
    stuck              a run that has shown progress shows none for    it does, or has ended            stuck_seconds
                       so long, and for five times as long as an item
                       took it before
    lost               the worker, or the message, of a run was lost   it has begun again, and a        grace_seconds
                                                                       minute has passed
    dead_letter        dead runs of no schedule wait                   they are requeued or discarded
    heartbeat_failing  three heartbeats in a row were not taken        one is
    clock_skew         an instance's clock is so far off Postgres'     it is not                        clock_skew_
                                                                                                        seconds
    schema_skew        instances of different releases, or that need   they do not
                       different schemas, live together for ten
                       minutes
    ledger_away        Postgres does not answer two passes in a row    it answers                       watch_seconds

What is wrong is told once, for its cause: what is missing while nobody leads names ``no_leader``; what waits on a queue
names what is wrong with that queue's workers, a silent worker before anything else; an attempt of a silent worker, and
what was lost with it, name that; a schedule that paused itself names its failures. One run is either stuck or runs too
long, whichever came first, and one that ran too long is not slower as well when it ends; a fire that was missed, whose
run never started, or whose queue was in trouble, is not late as well; what stands still without Redis names
``no_leader`` or ``relay_stalled``, which say so. Runs that are a share of a fan-out are counted for their task, and a
run that waits for its tenants does not run.

What is seen by its absence waits until it could be there: a lease after the ledger answers again, or this process has
begun to ask it; ``missed_seconds`` after a new Beat leads; as long as a rule allows after Redis or a worker came back.
Until then such a rule is not judged, and its alerts stay as they are. A run that waited for the ledger is not slower.
"""

from __future__ import annotations

from steadybeat.watchdog.process import Watchdog
from steadybeat.watchdog.watching import Watch

__all__ = ["Watch", "Watchdog"]
