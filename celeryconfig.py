"""What this deployment says to Celery; everything it leaves out has a safe default from `steadybeat.install`.

Addresses are not written here: set STEADYBEAT_REDIS_URL and STEADYBEAT_DATABASE_URL in the environment.
"""

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
        "catch_up": "latest",
        "overlap": "skip",
    },
}

# What the local stack (`make up`) runs before its workers start: `celery -A tasks seed`.
steadybeat_dev_prepare = ("seed",)

# What it keeps running besides: a mail server that keeps what the digest and the watchdog send, `celery -A tasks
# mailbox`, and a provider of payments and tokens, which moves no money, `celery -A tasks provider`.
steadybeat_dev_run = (
    (
        "mailbox:SMTP_URL=smtp://127.0.0.1:{port};STEADYBEAT_ALERT_CHANNELS="
        '{"mailbox": "mailto://127.0.0.1:{port}?from=watchdog@localhost.test&to=ops@localhost.test"}'
    ),
    "provider:PROVIDER_URL=http://127.0.0.1:{port}",
)

# Services of little work, which share one worker there; anywhere else each has its own.
steadybeat_dev_together = ("money:billing+cards+minting+sync",)
