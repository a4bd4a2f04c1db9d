from __future__ import annotations

from orchestrator.engine.leasing import Dead
from orchestrator.engine.reconciliation import Reconciliation


def test_what_was_found_is_one_line_and_nothing_where_nothing_was() -> None:
    found = Reconciliation()
    assert found.sentence == ""
    found.finished, found.repaired = 18, 1
    found.take_over(Dead(["a:1"], {"elsewhere"}), planned={"x", "y"})
    assert found.sentence == "18 trials finished; 1 MLflow run left unfinished, repaired; a:1 died"
    found.take_over(Dead(["b:2"], {"x", "elsewhere"}), planned={"x", "y"})
    assert found.sentence.endswith("; 1 trial run again, in flight when a:1, b:2 died")
    assert found.row() == {"finished": 18, "repaired": 1, "run_again": 1, "dead": ["a:1", "b:2"]}
