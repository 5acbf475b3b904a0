"""The reference catalogue: real scheduled jobs of a ticket marketplace, one module per service.

Read one service first, `tasks/royalties.py`; copy its shape for your own. What else is here:

    orders.py  royalties.py  maintenance.py    the services: each has a queue of its own name
    market.py                                  their tables (schema `market`) and the way to them
    snapshots.py  demo.py                      business figures at each fire; the app of `make demo`
    sample.py  seed.py                         sample rows, and `celery -A tasks seed`, which writes them
"""

from celery import Celery

import steadybeat

app = Celery("tasks")
app.config_from_object("celeryconfig")
steadybeat.install(app)
