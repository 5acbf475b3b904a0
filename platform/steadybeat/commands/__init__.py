"""The sub-commands of `celery -A …`, one file each; what they share stands beside them.

dev  health  ledger  runs  schedules  tenants  watchdog    the commands
calling       Celery's own `call`, made careful
adoption      schedules: what plain Celery and RedBeat had
usage         how one is asked for, and refused, in one line
completion    what the shell's Tab key offers
installed     the app that a command works on
output        how an answer looks
asked         runs: which one is meant, and what the ledger knows
shown         runs: as a list, and one with all that is known
looking       runs: one of them, and the tenants of its fan-out
narrowing     runs: which are meant, by what they have in common
ending  rerunning   runs that are to end before their time; runs that have ended, again
consuming     whether a worker takes runs from a queue
progress      how far something long has come
fanned  watching    how a fan-out looks; a run as it goes on
policies      tenants: what people tell policies, and what these say of a tenant
why  rerun    what became of a fire; running it again

Celery imports every command module for each `celery …` call, also for `celery --help` and each process of a worker.
So command modules and the four after them import nothing heavy (SQLAlchemy, Alembic, psycopg, Rich, structlog) until
a command runs: such imports stand in functions, types under TYPE_CHECKING.
"""
