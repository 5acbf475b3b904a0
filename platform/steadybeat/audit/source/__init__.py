"""Source: what a task's code says, read from its text; nothing of it is called.

reading      `read(task)`: a `Source`, which answers what checks ask
following    from the task's function to what it calls in its own package
definition   where a function stands, also behind decorators and partials; why there is none
names        what a name stands for
walking      one function's tree is read for its facts
facts        calls, loops, handlers, texts, guards
writes       what it does to a database
held         the locks it takes
effects      what it does to the rest of the world
"""

from __future__ import annotations

from steadybeat.audit.source.effects import Outside
from steadybeat.audit.source.facts import Around, Call, Guard, Handler, Loop, Text
from steadybeat.audit.source.held import Lock
from steadybeat.audit.source.reading import Source, read, read_file, read_function, read_functions, read_hooks, returned
from steadybeat.audit.source.writes import Write

__all__ = [
    "Around",
    "Call",
    "Guard",
    "Handler",
    "Lock",
    "Loop",
    "Outside",
    "Source",
    "Text",
    "Write",
    "read",
    "read_file",
    "read_function",
    "read_functions",
    "read_hooks",
    "returned",
]
