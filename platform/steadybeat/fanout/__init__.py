"""Fan-out: one run becomes one run per tenant.

plan         what a fan-out is told: for whom, how many at a time, when to give up
eligibility  tenants under a policy, which says who of them is in
order        in which order tenants have their turn: shuffled by a seed
writing      a tenant's run for everybody who is in, written in batches
advancing    who may begin, when it is given up, and what follows when all have ended
leaving      what a worker that ends says of the tenants that are not done
"""

from __future__ import annotations

from steadybeat.fanout.advancing import FanOuts
from steadybeat.fanout.eligibility import Eligible, eligible
from steadybeat.fanout.order import shuffled
from steadybeat.fanout.plan import FanOut

__all__ = ["Eligible", "FanOut", "FanOuts", "eligible", "shuffled"]
