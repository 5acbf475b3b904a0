"""The reference catalogue: real scheduled jobs of a ticket marketplace, one module per service.

Read one service first, `tasks/royalties.py`; copy its shape for your own. What else is here:

    orders.py  royalties.py  accounts.py       the services: each has a queue of its own name
    notifications.py  search.py  maintenance.py
    cards.py  minting.py  sync.py              those that move money: card retry, NFT minting, the provider's charges
    gateway.py                                 the way to the provider of payments and tokens
    market.py                                  their tables (schema `market`) and the way to them
    digest.py  mail.py                         what notifications sends, and the way to the mail server
    snapshots.py  demo.py                      business figures at each fire; the app of `make demo`
    sample.py  fill.py  seed.py                sample rows, and `celery -A tasks seed`, which writes them
    mailbox.py                                 `celery -A tasks mailbox`: keeps what is sent on this machine
    provider.py                                `celery -A tasks provider`: charges and mints on this machine, on paper
    provider_server.py  provider_book.py       what it answers, what it remembers,
    provider_mischief.py                       and what it does wrong when it is told to
"""

from celery import Celery

import steadybeat

app = Celery("tasks")
app.config_from_object("celeryconfig")
steadybeat.install(app)
