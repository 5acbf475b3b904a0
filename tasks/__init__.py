"""The reference catalogue: real scheduled jobs of a ticket marketplace, one module per service.

Read one service first, `tasks/royalties.py`; copy its shape for your own. For a job that does its share for each
account, read `tasks/billing.py`. What else is here:

    orders.py  royalties.py  accounts.py       the services: each has a queue of its own name
    notifications.py  search.py  maintenance.py
    cards.py  minting.py  sync.py              those that move money: card retry, NFT minting, the provider's charges
    gateway.py                                 the way to the provider of payments and tokens
    billing.py                                 one invoice per account and month, by a fan-out over all accounts
    market.py  books.py  columns.py            their tables (schema `market`) and the way to them
    digest.py  trial_notice.py                 what notifications sends,
    letters.py  mail.py                        and the way to the mail server
    clearing.py                                old rows go in batches, behind a checkpoint: maintenance, billing
    rehearsal.py                               what `celery -A tasks audit --probe` tries each task with
    snapshots.py  demo.py                      business figures at each fire; the app of `make demo`
    sample.py  sample_books.py  fill.py        sample rows, and `celery -A tasks seed`, which writes them
    seed.py
    mailbox.py                                 `celery -A tasks mailbox`: keeps what is sent on this machine
    provider.py                                `celery -A tasks provider`: charges and mints on this machine, on paper
    provider_server.py  provider_book.py       what it answers, what it remembers,
    provider_mischief.py                       and what it does wrong when it is told to
"""

from collections.abc import Iterable

from celery import Celery

import steadybeat


def account_ids() -> Iterable[int]:
    """Return the tenants of this app: the id of every account."""
    from tasks.accounts import ids  # not before the app is there

    return ids()


app = Celery("tasks")
app.config_from_object("celeryconfig")
steadybeat.install(app, tenants=account_ids)
