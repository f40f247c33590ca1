"""Each trap of Faust, Debezium and Kafka's clients has a test that holds it, wherever that test lies."""

from __future__ import annotations

import ast
import functools
import pathlib

import pytest

TESTS = pathlib.Path(__file__).parents[1]

FAUST = {
    "its consumer commits past an in-flight event": (
        "pitfalls/test_faust.py::test_an_event_that_failed_is_not_acknowledged_by_the_worker_that_dies_of_it",
        "simulation/bugs.py::commit past in-flight",
    ),
    "an exception or an undecodable message is acknowledged": (
        "unit/streams/test_router.py::test_what_cannot_be_read_becomes_a_dead_letter_and_the_rest_flows",
        "simulation/bugs.py::acknowledge on exception",
    ),
    "offsets are ours": ("test_architecture.py::test_only_the_intake_commits_offsets_and_only_what_their_owner_says",),
    "a channel is emptied by every resume": (
        "pitfalls/test_faust.py::test_a_channel_of_faust_s_own_is_emptied_by_every_resume_and_ours_is_not",
    ),
    "a channel buffers 4,096 batches": (
        "pitfalls/test_faust.py::test_a_channel_holds_four_batches_and_not_four_thousand",
    ),
    "an exception in an agent drops its batch": (
        "pitfalls/test_faust.py::test_an_exception_in_an_agent_ends_the_worker_instead_of_dropping_its_batch",
    ),
    "topic_disable_leader crashes a worker without topics": (
        "pitfalls/test_faust.py::test_a_worker_without_a_topic_of_faust_s_keeps_its_leader_topic",
    ),
    "exactly_once loses and duplicates": ("pitfalls/test_faust.py::test_exactly_once_is_never_asked_of_faust",),
    "web views have no login": ("pitfalls/test_faust.py::test_web_views_without_a_login_are_off",),
    "the first compressed batch kills the worker": (
        "pitfalls/test_faust.py::test_compressed_batches_can_be_read_by_faust_s_consumer",
    ),
    "versions are pinned": ("pitfalls/test_faust.py::test_faust_is_the_version_whose_traps_are_known",),
}
DEBEZIUM = {
    "3.6 loses rows on restart": (
        "pitfalls/test_debezium.py::test_the_connector_is_no_version_that_loses_rows_on_restart",
        "pitfalls/test_debezium.py::test_interleaved_transactions_and_copy_lose_no_row_when_connect_is_killed",
    ),
    "a filtered publication misses new tables": (
        "pitfalls/test_debezium.py::test_no_default_of_debezium_s_that_loses_in_silence_is_left",
        "integration/test_onboarding.py::test_a_publication_of_our_name_that_misses_tables_is_refused",
    ),
    "a recreated table falls back to its default identity": (
        "integration/test_onboarding.py::test_a_new_table_reports_whole_rows_within_its_own_transaction",
    ),
    "managed servers may not grant it": (
        "integration/test_onboarding.py::test_the_printed_script_does_what_prepare_does",
    ),
    "a moved parent row is an event": (
        "pitfalls/test_debezium.py::test_a_moved_parent_row_is_an_event_of_both_weddings",
    ),
    "an erased person's DELETE carries everything": (
        "pitfalls/test_debezium.py::test_an_erased_person_s_delete_is_an_event_with_all_that_was_erased",
    ),
    "TRUNCATE is dropped": ("integration/test_connector.py::test_a_transaction_arrives_whole_and_in_order",),
    "unchanged TOAST values are not sent": (
        "pitfalls/test_debezium.py::test_an_unchanged_toast_value_that_was_not_sent_is_never_stored_as_data",
    ),
    "the heartbeat is off": ("pitfalls/test_debezium.py::test_the_heartbeat_is_on_and_writes",),
    "a slot fills the disk": (
        "pitfalls/test_debezium.py::test_the_local_database_does_not_let_a_slot_fill_its_disk",
        "unit/test_guard_rules.py::test_the_slot_alarms_at_half_and_at_four_fifths",
    ),
    "a lost slot is loud": (
        "integration/test_guard.py::test_a_dropped_slot_begins_an_epoch_and_files_the_gap",
        "integration/test_guard.py::test_an_invalidated_slot_is_loud_before_and_after",
    ),
    "an offset that no longer fits the slot": ("integration/test_guard.py::test_a_slot_that_was_moved_on_is_noticed",),
    "what is published is compared every ten seconds": (
        "unit/test_guard_rules.py::test_tables_that_capture_does_not_see_whole_are_critical",
    ),
    "logical decoding carries no DDL": (
        "integration/test_schema_changes.py::test_a_restore_after_a_schema_change_equals_postgres",
    ),
    "a schema change during an incremental snapshot": (
        "integration/test_schema_changes.py::test_a_change_of_the_schema_amid_a_copy_costs_nothing",
    ),
    "logical decoding carries no sequences": (
        "integration/test_targets.py::test_a_sequence_told_of_goes_at_least_so_far",
    ),
    "logical decoding carries no generated columns": (
        "integration/test_targets.py::test_a_generated_column_is_left_to_the_database",
    ),
    "logical decoding carries no large objects and unlogged tables": (
        "integration/test_doctor.py::test_each_harm_is_found_and_none_in_a_database_that_is_fit",
    ),
    "a paused copy goes on after a restart": (
        "integration/test_guard.py::test_a_paused_copy_stays_paused_when_connect_is_killed",
    ),
    "no primary key": ("unit/test_doctor.py::test_a_declared_key_serves_a_table_without_one",),
    "a topic recreated under its old name": (
        "pitfalls/test_debezium.py::test_a_topic_recreated_under_its_old_name_is_another_log",
        "integration/test_stack.py::test_a_topic_is_made_once_and_keeps_its_id",
    ),
    "an expired batch goes to the wrong topic": (
        "pitfalls/test_debezium.py::test_kafka_s_clients_are_no_version_that_mistakes_the_topic_of_an_expired_batch",
    ),
    "Connect's REST interface has no login": (
        "pitfalls/test_debezium.py::test_connect_s_rest_interface_without_a_login_listens_on_loopback",
    ),
    "configuration is put, and 409 asked again": (
        "unit/stack/test_connect_client.py::test_a_busy_group_is_asked_again",
    ),
    "only what failed is restarted": ("unit/stack/test_connect_client.py::test_only_what_failed_is_restarted",),
    "what Connect sends again": (
        "pitfalls/test_debezium.py::test_what_connect_sends_again_after_its_crash_is_told_by_two_numbers",
        "integration/test_main_job.py::test_kill_9_loses_nothing_and_doubles_nothing",
    ),
    "one poisoned change leaves a hole in its transaction": (
        "unit/streams/test_dead_letters.py::test_poison_anywhere_neither_stops_the_router_nor_costs_what_lies_around_it",
    ),
}
CLIENTS = {
    "aiokafka's defaults lose": (
        "pitfalls/test_kafka_clients.py::test_aiokafka_with_its_defaults_that_lose_carries_nothing_of_ours",
    ),
    "librdkafka's defaults lose": (
        "pitfalls/test_kafka_clients.py::test_a_consumer_keeps_no_default_that_loses",
        "pitfalls/test_kafka_clients.py::test_a_producer_keeps_no_default_that_loses",
    ),
    "a timed-out message leaves a gap": (
        "pitfalls/test_kafka_clients.py::test_a_failed_delivery_is_fatal_for_the_producer_it_happened_to",
        "pitfalls/test_kafka_clients.py::test_an_unanswered_delivery_ends_in_an_error_and_not_in_silence",
    ),
    "confluent_kafka.aio deadlocks": (
        "pitfalls/test_kafka_clients.py::test_confluent_s_asyncio_client_that_deadlocks_is_not_used",
    ),
    "an admin's future raises only at its result": (
        "pitfalls/test_kafka_clients.py::test_an_admin_call_raises_only_where_its_result_is_asked_for",
    ),
    "a late acknowledgement after revoke": (
        "pitfalls/test_kafka_clients.py::test_an_acknowledgement_after_revoke_moves_nobody_else_s_offset",
    ),
    "records are consumed in batches": ("pitfalls/test_kafka_clients.py::test_records_are_consumed_in_batches",),
    "what is passed on is not deserialized": (
        "pitfalls/test_kafka_clients.py::test_what_is_only_passed_on_is_never_serialized_again",
    ),
    "retention outruns the backup": (
        "unit/streams/test_intake.py::test_records_that_are_gone_are_a_hole_and_never_skipped",
        "unit/sinks/test_partition_holes.py::test_the_sink_goes_on_behind_a_hole_and_files_it",
    ),
    "brokers and registries without a JVM": (
        "unit/streams/test_intake.py::test_delivered_means_on_the_topic",
        "unit/streams/test_schema_registry.py::test_confluent_s_own_twin_of_a_registry_answers_as_ours_does",
    ),
}


@functools.cache
def named(path: str) -> frozenset[str]:
    """Return the tests (and the names of planted bugs) of a file below `tests`."""
    nodes = list(ast.walk(ast.parse((TESTS / path).read_text(encoding="utf-8"))))
    functions = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return frozenset(
        functions | {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    )


@pytest.mark.parametrize(("trap", "tests"), [*FAUST.items(), *DEBEZIUM.items(), *CLIENTS.items()])
def test_each_trap_is_held_by_a_test_that_exists(trap: str, tests: tuple[str, ...]) -> None:
    """A test that was renamed or removed leaves its trap open, and this says which."""
    missing = [each for each in tests if each.partition("::")[2] not in named(each.partition("::")[0])]

    assert missing == [], trap
