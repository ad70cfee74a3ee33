"""Lists the tests of `make test-long`: those that are expensive by nature.

They play a whole study or campaign, move a browser, install the package into a fresh environment, draw thousands of samples, analyse many
published runs, or take a second way into a trouble that `make test` goes into by another. Of each file some test stays in `make test`, or
INSTEAD names one that looks at the same thing.
"""

from __future__ import annotations

import pytest

ALL: tuple[str, ...] = ()
LONG: dict[str, tuple[str, ...]] = {
    "tests/analysis/commands/test_ratio.py": (
        "test_pairs_alone_and_an_open_loop",
        "test_the_best_and_its_neighbours_are_played",
        "test_what_the_load_generator_timed_late_is_named",
    ),
    "tests/analysis/model/test_ratio_emulated.py": ("test_predicted_is_what_the_emulator_does[long answers]",),
    "tests/analysis/model/test_ttft_model.py": (
        "test_known_rates_are_found_within_their_intervals[truth2]",
        "test_known_rates_are_found_within_their_intervals[truth3]",
        "test_known_rates_are_found_within_their_intervals[truth4]",
    ),
    "tests/analysis/report/test_first_screen.py": (
        "test_in_a_browser[run]",
        "test_in_a_browser[arms]",
        "test_in_a_browser[comparison]",
        "test_in_a_browser[repeats]",
        "test_in_a_browser[sweep]",
        "test_a_link_of_the_contents_opens_its_part",
    ),
    "tests/analysis/report/test_short_answer.py": ("test_studies_fit",),
    "tests/analysis/servers/test_engines.py": ("test_four_h200s_behind_three_policies",),
    "tests/analysis/stats/test_timed_comparison.py": ("test_the_interval_holds_the_ratio_of_the_means[0.0]",),
    "tests/analysis/test_coverage.py": (
        "test_a_printed_interval_holds_the_truth[half busy]",
        "test_a_printed_interval_holds_the_truth[queue]",
        "test_a_printed_interval_holds_the_truth[documents]",
        "test_a_printed_interval_holds_the_truth[few]",
        "test_rounds_that_are_alike_are_seldom_told_apart",
    ),
    "tests/analysis/test_damaged_runs.py": (
        "test_every_value_may_be_of_any_type",
        "test_what_was_read_can_be_analysed",
        "test_studies_read_damaged_runs",
        "test_bytes_are_changed_lost_or_doubled[records.jsonl]",
        "test_bytes_are_changed_lost_or_doubled[server_metrics.jsonl]",
        "test_a_damaged_stats_json_is_one_line",
    ),
    "tests/analysis/test_published_pairs.py": (
        "test_two_runs_of_one_deployment_are_described_and_not_judged[others]",
        "test_split_into_deployments_at_random_repeated_runs_of_one_are_not_told_apart",
    ),
    "tests/campaign/test_command.py": ("test_a_campaign_is_stopped_goes_on_and_compares",),
    "tests/certificate/test_command.py": ALL,
    "tests/cli/test_upload.py": ("test_a_run_that_cannot_be_copied_ends_with_9_and_keeps_everything",),
    "tests/deploy/test_ci_example.py": ALL,
    "tests/deploy/test_wheel.py": (
        "test_the_main_job_in_an_empty_folder",
        "test_a_master_and_two_workers",
        "test_init_and_a_run_of_what_it_copied",
    ),
    "tests/docs/test_examples.py": ("test_commands_that_read_runs",),
    "tests/loadgen/master/test_partitions.py": ("test_the_network_is_back_within_the_round",),
    "tests/loadgen/master/test_round.py": (
        "test_users_edited_in_mid_round[one process-2]",
        "test_users_edited_in_mid_round[two workers-7]",
    ),
    "tests/loadgen/run/test_resume.py": ("test_it_goes_on_after_the_last_complete_round[killed]",),
    "tests/loadgen/studies/test_capacity.py": ("test_cold_and_hit_are_searched_by_rates_that_were_really_offered",),
    "tests/loadgen/studies/test_concurrency.py": ("test_each_level_is_a_run_of_its_own",),
    "tests/loadgen/studies/test_noisy_neighbour.py": ("test_what_the_loud_tenant_costs_comes_out",),
    "tests/loadgen/studies/test_retention.py": ("test_under_lru_hits_end_after_what_the_gpu_cache_holds",),
    "tests/loadgen/studies/test_working_set.py": ALL,
    "tests/loadgen/test_apis.py": ("test_agents[responses]", "test_agents[messages]"),
    "tests/loadgen/test_connections.py": ("test_ten_thousand_requests_to_a_faulty_server_leave_nothing_behind",),
    "tests/loadgen/test_dose_response.py": ALL,
    "tests/loadgen/test_events.py": ALL,
    "tests/loadgen/test_fleet.py": ("test_the_waterfall_is_the_fleets_truth[prefix]",),
    "tests/loadgen/test_hosts.py": ALL,
    "tests/loadgen/test_interrupt.py": ("test_interrupt_reaches_the_main_greenlet_only[without: what it is for]",),
    "tests/loadgen/test_loss.py": (
        "test_a_killed_worker_in_a_cold_round[--allow-loss]",
        "test_a_worker_killed_between_rounds_is_replaced_before_go[seen in the pause]",
        "test_a_full_disk_ends_the_run_and_loses_nothing_that_was_written[for nothing]",
    ),
    "tests/loadgen/test_many_requests.py": ("test_a_large_plan_starts_on_a_master_and_two_workers[150000]",),
    "tests/monitoring/test_browser.py": ALL,
    "tests/monitoring/test_hostile_text.py": ALL,
}
INSTEAD: dict[str, str] = {
    "tests/certificate/test_command.py": "tests/loadgen/worker/test_client_certificate.py",
    "tests/deploy/test_ci_example.py": "tests/analysis/report/test_console.py::test_comparison_of_pd_and_single",
    "tests/loadgen/studies/test_concurrency.py": "tests/loadgen/test_warm_up.py::test_a_study_warms_up_once_and_a_sweep_at_each_level",
    "tests/loadgen/studies/test_noisy_neighbour.py": "tests/analysis/across_runs/test_noisy_neighbour.py",
    "tests/loadgen/studies/test_working_set.py": "tests/loadgen/test_warm_up.py::test_working_sets_are_warmed_up_once",
    "tests/loadgen/test_dose_response.py": "tests/workload/test_dose_response.py",
    "tests/loadgen/test_events.py": "tests/loadgen/test_outage.py::test_the_round_waits_and_goes_on",
    "tests/loadgen/test_hosts.py": "tests/loadgen/master/test_coordinator.py::test_master_and_two_workers_share_unequal_users",
    "tests/monitoring/test_browser.py": "tests/loadgen/web/test_kvcache_tab.py::test_the_tab_follows_a_run",
    "tests/monitoring/test_hostile_text.py": "tests/loadgen/web/test_kvcache_tab.py::test_the_tab_follows_a_run",
}


def is_long(test: str) -> bool:
    """Of a test's id."""
    file, _, name = test.partition("::")
    return file in LONG and (LONG[file] == ALL or name in LONG[file])


def mark_long(items: list[pytest.Item]) -> None:
    for item in items:
        if is_long(item.nodeid):
            item.add_marker(pytest.mark.long)
