"""What probes have shown is kept for as long as the code is the same."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from steadybeat.audit.answer import failed, passed
from steadybeat.audit.finding import Verdict
from steadybeat.audit.probes.judging import PROVEN
from steadybeat.audit.probes.proofs import Proofs, code_of
from steadybeat.errors import ConfigurationError

SHOWN = {"4.6": passed("one row"), "4.7": failed("two rows", "mend it"), "4.8": passed("one row")}


class Task:
    name = "clinic.visits.remind"
    audit_args: Any = (1,)

    def __init__(self, module: str) -> None:
        self.__module__ = module


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package whose module `visits` imports `mail`, and that `letters`; nothing imports `other`."""
    folder = tmp_path / "clinic"
    folder.mkdir()
    files = {
        "__init__": "",
        "visits": "import json\nfrom clinic.mail import send\n",
        "mail": "def send():\n    from . import letters\n    return letters\n",
        "letters": "TEXT = 'Dear Ann'\n",
        "other": "",
    }
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = ["clinic", *(f"clinic.{name}" for name in files if name != "__init__")]
    for module in modules:
        importlib.import_module(module)
    yield folder
    for module in modules:
        del sys.modules[module]


@pytest.fixture
def task(clinic: Path) -> Any:
    return Task("clinic.visits")


def test_what_was_shown_is_kept_with_when_and_of_which_code(task: Any, tmp_path: Path) -> None:
    file = tmp_path / "proofs.json"
    Proofs(file).keep({task.name: task}, {task.name: SHOWN})
    found = Proofs(file).of(task)
    assert [found[line].verdict for line in PROVEN] == [Verdict.PASS, Verdict.FAIL, Verdict.PASS]
    assert found["4.7"].remedy == "mend it"
    kept = json.loads(file.read_text())["tasks"][task.name]
    assert (
        found["4.6"].evidence
        == f"one row; shown at {kept['shown_at']} by release {kept['release']}, of code {code_of(task)[:12]} ({file})"
    )


@pytest.mark.parametrize("name", ["visits", "mail", "letters"])
def test_a_change_of_the_task_or_of_what_it_imports_makes_it_unknown_again(
    name: str, task: Any, clinic: Path, tmp_path: Path
) -> None:
    file = tmp_path / "proofs.json"
    Proofs(file).keep({task.name: task}, {task.name: SHOWN})
    changed = clinic / f"{name}.py"
    changed.write_text(f"{changed.read_text()}# another day\n")
    found = Proofs(file).of(task)
    assert {each.verdict for each in found.values()} == {Verdict.UNKNOWN}
    assert "was of other code than there is now" in found["4.6"].evidence
    assert found["4.6"].remedy == "run `celery -A … audit --probe`, with --task for one of them"


def test_a_change_of_what_it_does_not_import_changes_nothing(task: Any, clinic: Path, tmp_path: Path) -> None:
    file = tmp_path / "proofs.json"
    Proofs(file).keep({task.name: task}, {task.name: SHOWN})
    (clinic / "other.py").write_text("# another day\n")
    assert Proofs(file).of(task)["4.6"].verdict is Verdict.PASS


def test_what_another_release_has_shown_is_not_believed(task: Any, tmp_path: Path) -> None:
    file = tmp_path / "proofs.json"
    Proofs(file).keep({task.name: task}, {task.name: SHOWN})
    file.write_text(file.read_text().replace('"release": "', '"release": "0.'))
    assert Proofs(file).of(task)["4.6"].verdict is Verdict.UNKNOWN


def test_a_task_that_was_never_tried_is_unknown_and_says_what_to_do(task: Any, tmp_path: Path) -> None:
    assert "has nothing of it" in Proofs(tmp_path / "none.json").of(task)["4.6"].evidence
    task.audit_args = None
    found = Proofs(tmp_path / "none.json").of(task)["4.8"]
    assert (found.verdict, found.evidence) == (Verdict.UNKNOWN, "audit_args is not said, so it was never tried")
    assert "say audit_args= on the task" in found.remedy


def test_a_task_that_is_gone_leaves_the_file_when_another_is_tried(task: Any, tmp_path: Path) -> None:
    file = tmp_path / "proofs.json"
    gone = Task("clinic.visits")
    gone.name = "clinic.visits.gone"
    Proofs(file).keep({task.name: task, gone.name: gone}, {gone.name: SHOWN})
    Proofs(file).keep({task.name: task}, {task.name: SHOWN})
    assert [*json.loads(file.read_text())["tasks"]] == [task.name]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"tasks": {"a": {}}}', '{"tasks": {"a": {"proofs": {"4.6": {"verdict": "well"}}}}}']
)
def test_a_file_that_cannot_be_read_is_refused_with_the_way_out(text: str, tmp_path: Path) -> None:
    file = tmp_path / "proofs.json"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=r"steadybeat_audit_proofs=.* cannot be read .*Delete it, and run"):
        Proofs(file)


def test_a_file_that_cannot_be_written_is_said(task: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written"):
        Proofs(tmp_path / "none" / "proofs.json").keep({task.name: task}, {task.name: SHOWN})
