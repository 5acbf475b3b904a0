"""The ledger: what should happen and what happened, in Postgres. The only room that speaks SQL.

schema          which migrations there are, and applying them
tables          the tables
connection      one engine per process, and telling "refused" from "does not answer"
rows            what the ledger is given and gives back
schedule_lists  schedules as people look through them
schedules       definitions: apply, retire, list
interventions   what people do to schedules and fires
joining         a caller's transaction that a change is part of
history         what became of many fires, and who did what
cancelling      runs that are not to go on
progress        how far runs have come, and whether they may go on
fires           written ahead, due, marked
recording       how a run is written
runs            recorded, claimed, finished
failing         what a run that ends badly means for others
chords          what follows runs that belong together
replacing       runs that go on as the last step of a canvas
fan_outs        runs that became one run per tenant
admitting       which of those may begin, and when all have ended
reopening       fan-outs that go on, because a person asks for it
overview        how far fan-outs are, tenant by tenant
tenants         who is to have one, and who is not
results         what somebody who waits for a task asks
retries         whether another attempt may still begin
claim           who may work on a run
keys            what has happened for a key: effects and steps, also in a service's own database
duplicates      what was turned away, and why
sharing         runs that get the result of another
outbox          what is to be sent, again or later
rescue          what was lost on the way
turns           who took a lock last, and who waits for one
instances       who is alive
leaderships     which Beat has led, and when
duties          what one process at a time does, of however many could
monitors        where heartbeats go, and how that stands
server          how Postgres is set, and who is connected
gauges          figures of the whole, for metrics
glance          is everything all right?
tasks           what they are, for those who do not have their code
reporting       what a day was like for an owner
recent          what the last runs of tasks were like, in figures
alerts          what was found wrong, until it was resolved
notices         what people are to be told, and were
silences        what nobody is to be told of, and until when
watched_fires, watched_schedules, watched_runs, watched_platform
                what the watchdog reads, every few seconds
canaries        which queues answer when they are asked
lines           what runs have logged
foreign         what could not be read
dead            what has given up, and waits for a person
search          which runs are meant: what they have in common
dead_groups     the same by what it died of
fan_out_lists, alert_lists
                fan-outs, their tenants and alerts, page by page
story           what people ask: lists, one run, why
around          what there is about one run beside its own row
run_search      runs by what they have in common, page by page, also among millions
run_walks       the statements of that
search_indexes  the indexes of that
pruning         what may be forgotten
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import text

from steadybeat.ledger import schema
from steadybeat.ledger.admitting import Admitting
from steadybeat.ledger.alert_lists import AlertLists
from steadybeat.ledger.alerts import Alerts
from steadybeat.ledger.around import Around
from steadybeat.ledger.canaries import Canaries
from steadybeat.ledger.cancelling import Cancelling
from steadybeat.ledger.chords import Chords
from steadybeat.ledger.connection import Database
from steadybeat.ledger.dead import Dead
from steadybeat.ledger.dead_groups import DeadGroups
from steadybeat.ledger.duplicates import Duplicates
from steadybeat.ledger.duties import Duties
from steadybeat.ledger.fan_out_lists import FanOutLists
from steadybeat.ledger.fan_outs import FanOuts
from steadybeat.ledger.fires import Fires
from steadybeat.ledger.foreign import ForeignMessages
from steadybeat.ledger.gauges import Gauges
from steadybeat.ledger.glance import Glance
from steadybeat.ledger.history import History
from steadybeat.ledger.instances import Instance, Instances
from steadybeat.ledger.interventions import Interventions
from steadybeat.ledger.keys import Keys
from steadybeat.ledger.leaderships import Leaderships
from steadybeat.ledger.lines import Lines
from steadybeat.ledger.monitors import Monitors
from steadybeat.ledger.notices import Notices
from steadybeat.ledger.outbox import Outbox
from steadybeat.ledger.overview import Overview
from steadybeat.ledger.progress import Progress
from steadybeat.ledger.pruning import prunable, prune
from steadybeat.ledger.recent import Recent
from steadybeat.ledger.reopening import Reopening
from steadybeat.ledger.replacing import Replacing
from steadybeat.ledger.reporting import Reporting
from steadybeat.ledger.rescue import Rescue
from steadybeat.ledger.results import Results
from steadybeat.ledger.retries import Retries
from steadybeat.ledger.run_search import RunSearch
from steadybeat.ledger.runs import Runs
from steadybeat.ledger.schedule_lists import ScheduleLists
from steadybeat.ledger.schedules import Schedules
from steadybeat.ledger.schema import SchemaStatus
from steadybeat.ledger.server import Server
from steadybeat.ledger.sharing import Sharing
from steadybeat.ledger.silences import Silences
from steadybeat.ledger.story import Story
from steadybeat.ledger.tasks import Tasks
from steadybeat.ledger.tenants import Tenants
from steadybeat.ledger.turns import Turns
from steadybeat.ledger.watched_fires import WatchedFires
from steadybeat.ledger.watched_platform import WatchedPlatform
from steadybeat.ledger.watched_runs import WatchedRuns
from steadybeat.ledger.watched_schedules import WatchedSchedules
from steadybeat.settings import Settings

__all__ = ["Instance", "Ledger", "SchemaStatus"]


class Ledger:
    """One application's ledger. Safe to share between threads, and across a fork.

    Every method raises `LedgerUnavailable` when Postgres does not answer; nothing was changed then, or it was and
    asking again does no harm.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._schema_is_known = False
        self.database = Database(settings.database_url, settings.ledger_timeout_seconds, settings.ledger_pool_count)
        self._open_work()
        self._open_telling()

    def _open_work(self) -> None:
        """Open the rooms of what happens."""
        self.schedules = Schedules(self.database)
        self.interventions = Interventions(self.database)
        self.fires = Fires(self.database)
        self.runs = Runs(self.database, self.settings)
        self.retries = Retries(self.database)
        self.keys = Keys(self.database)
        self.duplicates = Duplicates(self.database)
        self.sharing = Sharing(self.database)
        self.cancelling = Cancelling(self.database)
        self.progress = Progress(self.database, self.settings)
        self.chords = Chords(self.database, self.runs)
        self.replacing = Replacing(self.database)
        self.fan_outs = FanOuts(self.database)
        self.overview = Overview(self.database)
        self.tenants = Tenants(self.database)
        self.admitting = Admitting(self.database)
        self.results = Results(self.database)
        self.outbox = Outbox(self.database)
        self.rescue = Rescue(self.database, self.settings)
        self.turns = Turns(self.database)
        self.instances = Instances(self.database, self.settings)
        self.foreign = ForeignMessages(self.database)
        self.reopening = Reopening(self.database)
        self.dead = Dead(self.database, self.reopening)

    def _open_telling(self) -> None:
        """Open the rooms of what is watched, and of what people and machines are told."""
        self.gauges = Gauges(self.database)
        self.glance = Glance(self.database)
        self.leaderships = Leaderships(self.database)
        self.duties = Duties(self.database)
        self.monitors = Monitors(self.database, self.settings)
        self.server = Server(self.database)
        self.tasks = Tasks(self.database)
        self.lines = Lines(self.database, self.settings)
        self.alerts = Alerts(self.database)
        self.notices = Notices(self.database)
        self.silences = Silences(self.database)
        self.watched_fires = WatchedFires(self.database)
        self.watched_schedules = WatchedSchedules(self.database)
        self.watched_runs = WatchedRuns(self.database)
        self.watched_platform = WatchedPlatform(self.database)
        self.canaries = Canaries(self.database)
        self.story = Story(self.database)
        self.search = RunSearch(self.database)
        self.history = History(self.database)
        self.schedule_lists = ScheduleLists(self.database)
        self.around = Around(self.database)
        self.dead_groups = DeadGroups(self.database)
        self.fan_out_lists = FanOutLists(self.database)
        self.alert_lists = AlertLists(self.database)
        self.reporting = Reporting(self.database)
        self.recent = Recent(self.database)

    @classmethod
    def of(cls, app: Any) -> Ledger:
        """Return the ledger of a Celery app on which steadybeat is installed."""
        ledger: Ledger = app.steadybeat.ledger
        return ledger

    def ping(self) -> None:
        """Ask Postgres for a sign of life."""
        self.database.execute(text("SELECT 1"))

    def upgrade(self) -> SchemaStatus:
        """Apply the missing migrations; return what the schema was before."""
        with self.database.answering():
            return schema.upgrade(self.database.engine)

    def status(self) -> SchemaStatus:
        """Return which migrations the database has, and which are missing."""
        with self.database.transaction() as connection:
            return schema.status(connection)

    def require_schema(self) -> None:
        """Raise `SchemaTooOld` if a migration that this release needs is missing."""
        with self.database.transaction() as connection:
            schema.require(connection)

    def require_schema_once(self) -> None:
        """Do so for the first caller; a schema only ever becomes newer."""
        if not self._schema_is_known:
            self.require_schema()
            self._schema_is_known = True

    def live_instances(self) -> list[Instance]:
        """Return the instances whose sign of life has not expired, oldest first."""
        return self.instances.live()

    def prune(self, tell: Callable[[int], None] | None = None) -> dict[str, int]:
        """Delete what ended longer ago than the retention; return the deleted rows by table.

        Args:
            tell: Is called with how many rows were deleted, batch by batch.
        """
        return prune(self.database, self.settings, tell)

    def prunable(self) -> dict[str, int]:
        """Return how many rows of each table `prune` would find now."""
        return prunable(self.database, self.settings)
