"""What this deployment says to Celery; everything it leaves out has a safe default from `steadybeat.install`.

Addresses are not written here: set STEADYBEAT_REDIS_URL and STEADYBEAT_DATABASE_URL in the environment; and so that
somebody hears of it when something is wrong, ALERTS_TEAM_URL, ALERTS_ONCALL_URL, STEADYBEAT_HEARTBEAT_URL and
STEADYBEAT_PLATFORM_HEARTBEAT_URL. Without these four everything works, and nobody is told.
"""

import os
from datetime import timedelta

from steadybeat import every

# The modules that hold tasks. A task's queue is called like its module: tasks.orders -> orders.
imports = (
    "tasks.accounts",
    "tasks.billing",
    "tasks.cards",
    "tasks.maintenance",
    "tasks.minting",
    "tasks.notifications",
    "tasks.orders",
    "tasks.royalties",
    "tasks.search",
    "tasks.sync",
)

# When a task is due may stand in its decorator (see tasks/royalties.py), or here, with the same policies.
beat_schedule = {
    "clear-sessions": {
        "task": "tasks.maintenance.clear_sessions",
        "schedule": every(timedelta(minutes=10)),
        "jitter": timedelta(minutes=1),
        "catch_up": "latest",
        "overlap": "skip",
    },
}

# Processes of each worker, so of each service on each machine: no queue can take more than that of Postgres, or of the
# provider, than machines were given to it.
worker_concurrency = 2

# A monthly job leaves three runs to compare.
steadybeat_retention_seconds = 100 * 86400.0

# Who is told of what is wrong: the team that owns the task, and who is on call where it does not answer. The ways to
# them hold secrets, so they come from the environment, as Apprise writes them: ALERTS_TEAM_URL is that to a team, with
# {team} where its name belongs (mailtos://user:password@mail.example?to={team}@example.org), ALERTS_ONCALL_URL the
# other. A deployment that sets STEADYBEAT_ALERT_CHANNELS says all of this by itself.
_TEAMS = (
    "accounts-team",
    "collectibles-team",
    "finance-team",
    "growth-team",
    "orders-team",
    "payments-team",
    "platform-team",
    "search-team",
)
_TEAM, _ONCALL = os.environ.get("ALERTS_TEAM_URL"), os.environ.get("ALERTS_ONCALL_URL")

if _TEAM and _ONCALL and not os.environ.get("STEADYBEAT_ALERT_CHANNELS"):
    steadybeat_alert_channels = {**{team: _TEAM.replace("{team}", team) for team in _TEAMS}, "oncall": _ONCALL}
    steadybeat_alert_routes = [
        *(
            {"owner": team, "to": [team], "report": [team], "escalate": [{"after": "30m", "to": ["oncall"]}]}
            for team in _TEAMS
        ),
        {"to": ["platform-team"], "report": [], "escalate": [{"after": "10m", "to": ["oncall"]}]},
    ]

# What the local stack (`make up`) runs before its workers start: `celery -A tasks seed`.
steadybeat_dev_prepare = ("seed",)

# What it keeps running besides: a mail server that keeps what the digest and the watchdog send, `celery -A tasks
# mailbox`, and a provider of payments and tokens, which moves no money, `celery -A tasks provider`.
steadybeat_dev_run = (
    (
        "mailbox:SMTP_URL=smtp://127.0.0.1:{port};"
        "ALERTS_TEAM_URL=mailto://127.0.0.1:{port}?from=watchdog@localhost.test&to={team}@localhost.test;"
        "ALERTS_ONCALL_URL=mailto://127.0.0.1:{port}?from=watchdog@localhost.test&to=oncall@localhost.test"
    ),
    "provider:PROVIDER_URL=http://127.0.0.1:{port}",
)

# Services of little work, which share one worker there; anywhere else each has its own.
steadybeat_dev_together = ("money:billing+cards+minting+sync",)

# What `audit --probe` runs in its scratch places before it tries the tasks there.
steadybeat_audit_prepare = ("seed --tables-only",)
