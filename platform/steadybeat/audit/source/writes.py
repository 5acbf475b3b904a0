"""Writes: what code does to a database, by SQL, by SQLAlchemy or by Django."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from steadybeat.audit.source.facts import Around, Call, Text

INSERT, UPSERT, UPDATE, DELETE, READ, LOCK = "INSERT", "UPSERT", "UPDATE", "DELETE", "READ", "LOCK"

VERB = re.compile(
    r"^\s*(?:with\b.*?\)\s*)?(insert\s+(?:or\s+(?:ignore|replace)\s+)?into|replace\s+into|merge\s+into|update\s+\S+(?:\s+as\s+\w+|\s+\w+)?\s+set|"
    r"delete\s+from|truncate\b|copy\s+\S+\s+from|select\b(?=.*\bfrom\b|.*\bpg_|.*\(|\s+1))",
    re.IGNORECASE | re.DOTALL,
)
UPSERTS = re.compile(
    r"on\s+conflict|on\s+duplicate\s+key|insert\s+or\s+(ignore|replace)|where\s+not\s+exists", re.IGNORECASE
)
WHERE = re.compile(r"\bwhere\b(.*)$", re.IGNORECASE | re.DOTALL)
RELATIVE = re.compile(r"\bset\b.*?\b(\w+)\s*=\s*(?:\w+\.)?\1\s*[-+*/]", re.IGNORECASE | re.DOTALL)
ROW_LOCK = re.compile(r"\bfor\s+(?:no\s+key\s+)?update\b", re.IGNORECASE)
UNIQUE = ("IntegrityError", "UniqueViolation", "DuplicateKeyError")

SESSION = re.compile(r"(session|db|sess|em)(\(\))?$")
MADE = re.compile(r"\b(session|session_scope|sessionmaker|scoped_session)$")
HTTP = ("requests.", "httpx.", "aiohttp.")
QUERY = re.compile(r"objects|\.filter\(|\.query\b|queryset|^qs$")
MODEL = re.compile(r"^(?!os|pd|dict|image|img|fig|plt|form|workbook|wb|doc)\w+")
COLLECTION = re.compile(r".")

ORM: Sequence[tuple[str, re.Pattern[str], str]] = (
    ("add", SESSION, INSERT),
    ("add_all", SESSION, INSERT),
    ("bulk_save_objects", SESSION, INSERT),
    ("bulk_insert_mappings", SESSION, INSERT),
    ("bulk_update_mappings", SESSION, UPDATE),
    ("merge", SESSION, UPSERT),
    ("delete", SESSION, DELETE),
    ("create", QUERY, INSERT),
    ("bulk_create", QUERY, INSERT),
    ("get_or_create", QUERY, UPSERT),
    ("update_or_create", QUERY, UPSERT),
    ("bulk_update", QUERY, UPDATE),
    ("update", QUERY, UPDATE),
    ("delete", QUERY, DELETE),
    ("select_for_update", QUERY, LOCK),
    ("get", QUERY, READ),
    ("first", QUERY, READ),
    ("last", QUERY, READ),
    ("exists", QUERY, READ),
    ("count", QUERY, READ),
    ("iterator", QUERY, READ),
    ("aggregate", QUERY, READ),
    ("all", QUERY, READ),
    ("filter", QUERY, READ),
    ("values_list", QUERY, READ),
    ("save", MODEL, UPDATE),
    ("insert_one", COLLECTION, INSERT),
    ("insert_many", COLLECTION, INSERT),
    ("update_one", COLLECTION, UPDATE),
    ("update_many", COLLECTION, UPDATE),
    ("replace_one", COLLECTION, UPSERT),
    ("delete_many", COLLECTION, DELETE),
)
"""Methods of SQLAlchemy's session, of Django's querysets and models, and of pymongo: of what, and how they write."""

CORE = {"insert": INSERT, "update": UPDATE, "delete": DELETE, "select": READ}
CONFLICTS = frozenset({"on_conflict_do_update", "on_conflict_do_nothing", "on_duplicate_key_update"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One write, or read, of a database.

    Attributes:
        kind: ``INSERT``, ``UPSERT``, ``UPDATE``, ``DELETE``, ``READ``, or ``LOCK`` for a read that locks its rows.
        text: The statement, or the call, in one line.
        where: The condition of an UPDATE or DELETE; empty where it has none, or the code does not tell.
        relative: Whether a column is set from itself, so that twice is not once: ``SET n = n + 1``.
        guarded: Whether a unique key refuses it the second time, and the code knows: it catches that error.
        place: Where.
        function: The function that has it.
        around: What stands around it.
    """

    kind: str
    text: str
    where: str
    relative: bool
    guarded: bool
    place: str
    function: str
    around: Around

    @property
    def changes(self) -> bool:
        """Whether it changes anything."""
        return self.kind not in {READ, LOCK}


def write_of_text(text: Text) -> Write | None:
    """Return what a text does to a database if it is SQL, else None."""
    found = VERB.match(text.text)
    if found is None:
        return None
    kind = _kind(found.group(1).lower(), text.text)
    where = WHERE.search(text.text)
    return _write(
        kind, text.text, text, where=where.group(1) if where else "", relative=RELATIVE.search(text.text) is not None
    )


def _kind(verb: str, text: str) -> str:
    if verb.startswith(("replace", "merge")):
        return UPSERT
    if verb.startswith(("insert", "copy")):
        return UPSERT if UPSERTS.search(text) else INSERT
    if verb.startswith(("delete", "truncate")):
        return DELETE
    if verb.startswith("select"):
        return LOCK if ROW_LOCK.search(text) else READ
    return UPDATE


def write_of_call(call: Call, chained: Sequence[Call] = ()) -> Write | None:
    """Return what a call does to a database, where it is one of SQLAlchemy or of Django, else None.

    Args:
        call: The call.
        chained: The calls that are made of its value, such as ``.values(…)`` and ``.on_conflict_do_nothing()``.
    """
    kind = CORE[call.last] if _is_core(call) else _orm(call)
    if kind is None or (kind == READ and not _is_core(call) and chained):
        return None  # what is chained to a queryset says what is done with it
    if any(each.last in CONFLICTS for each in chained):
        kind = UPSERT
    if kind == READ and any(each.last == "with_for_update" for each in chained):
        kind = LOCK
    where = [ast.unparse(part) for each in chained if each.last in {"where", "filter"} for part in each.arguments]
    relative = kind == UPDATE and any("F(" in ast.unparse(each) for each in call.keywords.values())
    own = [ast.unparse(each) for each in call.node.keywords] if call.last in {"get", "filter"} else []
    where = [*where, *own, _filtered(call)]
    return _write(kind, f"{call.written}(…)", call, where=" ".join(where), relative=relative)


def _is_core(call: Call) -> bool:
    """Say whether a call is ``sqlalchemy.insert(table)`` or ``table.insert()``."""
    return call.last in CORE and (call.name.startswith("sqlalchemy.") or call.name.endswith(f"__table__.{call.last}"))


def _orm(call: Call) -> str | None:
    receiver = call.written.rpartition(".")[0]
    if not receiver:
        return None
    for method, ending, kind in ORM:
        if call.last == method and (ending.search(receiver.lower()) or (ending is SESSION and _of_a_session(call))):
            if kind == INSERT and {"ignore_conflicts", "update_conflicts"} & set(call.keywords):
                return UPSERT
            return INSERT if method == "save" and _is_new(call) else kind
    return None


def _of_a_session(call: Call) -> bool:
    """Say whether a variable of any name holds a session, as ``with session_scope() as s``; not one of HTTP."""
    receiver = call.name.rpartition(".")[0]
    return MADE.search(receiver.lower()) is not None and not receiver.startswith(HTTP)


def _is_new(call: Call) -> bool:
    """Say whether what is saved was made here, so that saving it writes a new row."""
    return isinstance(call.node.func, ast.Attribute) and isinstance(call.names.value(call.node.func.value), type)


def _filtered(call: Call) -> str:
    """Return the condition of a queryset's update or delete: what ``filter(…)`` before it was given."""
    start = call.written.find(".filter(")
    return call.written[start + len(".filter(") :].rpartition(")")[0] if start >= 0 else ""


def _write(kind: str, text: str, at: Text | Call, *, where: str, relative: bool) -> Write:
    return Write(
        kind=kind,
        text=" ".join(text.split()),
        where=" ".join(where.split()),
        relative=relative,
        guarded=any(each.endswith(UNIQUE) for each in at.around.caught),
        place=at.place,
        function=at.function,
        around=at.around,
    )
