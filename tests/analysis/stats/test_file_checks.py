"""What a user's own file cannot tell, or was changed to be sent, stands among the findings of the run."""

from __future__ import annotations

from locust_kvcache.analysis.stats.file_checks import file_problems
from locust_kvcache.workload.scenario_file import load_scenario
from locust_kvcache.workload.traces.loading import NO_PREFIXES


def test_a_trace_without_prefixes_is_a_warning_and_other_notes_are_notes() -> None:
    trace = {"path": "azure.csv", "prefixes": "none", "notes": ["format azure, dates", NO_PREFIXES]}
    found = file_problems([{"name": "trace_replay", "trace": trace, "corpus": None}], 1)
    assert [(one.severity, one.code) for one in found] == [("warning", "no_prefixes"), ("note", "file_as_read")]
    assert "what the recorded requests could have reused is unknown" in found[0].text
    assert found[1].text == "trace_replay: azure.csv: format azure, dates."


def test_conversations_say_what_was_left_out_and_made_up_text_says_nothing() -> None:
    corpus = {"files": ["chats.jsonl"], "notes": ["2 parts that are no text (images, audio, files) are left out"]}
    found = file_problems(
        [{"name": "chats", "corpus": corpus}, {"name": "cold_start"}, {"name": "old", "trace": {"path": "t"}}], 1
    )
    assert [one.text for one in found] == ["chats: chats.jsonl: 2 parts that are no text (images, audio, files) are left out."]


def test_moving_chunks_are_said_with_what_could_be_found() -> None:
    one = load_scenario("rag_chunks").to_dict()
    (found,) = file_problems([one], 1)
    assert (found.severity, found.code) == ("note", "chunks_move")
    assert found.text.startswith("rag_chunks: chunks change their order, so a prefix cache can find 1")
    assert file_problems([one], None) == []
