"""Delivery puts messages on queues.

routing     which queue: that of the task's service
sending     a run is recorded before its message is sent
ahead       messages that are built before it is their time
relay       what the outbox holds is sent when it is time
rescue      what was lost is put into the outbox
canaries    a message that asks whether somebody consumes from a queue
patience    how long they wait for a Redis that hangs
"""

from __future__ import annotations

from steadybeat.delivery.ahead import Ahead, Built
from steadybeat.delivery.canaries import Canaries
from steadybeat.delivery.relay import Relay
from steadybeat.delivery.rescue import Rescuer
from steadybeat.delivery.routing import service_of, services_of
from steadybeat.delivery.sending import SteadyAMQP

__all__ = ["Ahead", "Built", "Canaries", "Relay", "Rescuer", "SteadyAMQP", "service_of", "services_of"]
