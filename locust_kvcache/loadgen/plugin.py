"""Connects the load generator with Locust: importing it registers our options and listeners."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import gevent
from gevent.lock import RLock
from locust import events
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner, WorkerRunner

from locust_kvcache.contract.errors import BadInput
from locust_kvcache.contract.exit_codes import Exit
from locust_kvcache.contract.language import use_language
from locust_kvcache.loadgen.dry_run.text import dry_run_text
from locust_kvcache.loadgen.interrupt import end_when_hung_up, in_main, interrupt_main_only, leaves_at_once, note_termination
from locust_kvcache.loadgen.master.coordinator import Coordinator
from locust_kvcache.loadgen.master.dispatcher import ScenarioDispatcher
from locust_kvcache.loadgen.master.missing_workers import end_with_own_code
from locust_kvcache.loadgen.master.user_classes import scenarios_of
from locust_kvcache.loadgen.options.resolve import plan_job
from locust_kvcache.loadgen.options.round_length import keep_run_time
from locust_kvcache.loadgen.options.run_options import read_options
from locust_kvcache.loadgen.quiet import show_tables_if_asked, speak_as_worker
from locust_kvcache.loadgen.typed_locust import listen, new_hook
from locust_kvcache.loadgen.web.kvcache_tab import attach as attach_tab
from locust_kvcache.loadgen.web.prometheus import attach as attach_metrics
from locust_kvcache.loadgen.worker.agent import Agent
from locust_kvcache.loadgen.worker.orphan import end_with_parent
from locust_kvcache.loadgen.worker.record_hook import RecordHook
from locust_kvcache.loadgen.worker.spawn_messages import parse_own_options_once

LEAVES_S = 5.0


def _dry_run(environment: Environment) -> None:
    """Say what a run would send, and end, headless or not; no worker is waited for."""
    options = read_options(environment.parsed_options)  # type: ignore[arg-type]
    use_language(options.language)
    scenarios, deployment, model = plan_job(options, scenarios_of(environment.user_classes), environment.host)
    users = int(environment.parsed_options.num_users or 1)  # type: ignore[union-attr]
    try:
        print(dry_run_text(options, scenarios, deployment, model, users), flush=True)
    except BrokenPipeError:  # `| head`: nobody reads on, which is no error; Python flushes once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def _refused(step: Callable[[Environment], None], environment: Environment) -> None:
    """BadInput is one line and an exit code, never a traceback."""
    try:
        step(environment)
    except BadInput as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(int(Exit.BAD_INPUT))


def _on_init(environment: Environment, runner: Any, **_: Any) -> None:
    hooks: Any = environment.events
    show_tables_if_asked(environment)
    hooks.record_finished = RecordHook()  # fired where the request ran, with environment and record
    hooks.between_rounds = (
        new_hook()
    )  # fired on the master before each round but the first, with environment, scenario, next_round
    if isinstance(runner, WorkerRunner | LocalRunner):
        _attach_agent(environment)
    if isinstance(runner, MasterRunner | LocalRunner):
        keep_run_time(environment.parsed_options)
        if environment.parsed_options is not None and environment.parsed_options.dry_run:
            _refused(_dry_run, environment)
        _attach_coordinator(environment)
    interrupt_main_only(environment)
    end_when_hung_up()


def _attach_agent(environment: Environment) -> None:
    agent = Agent(environment)
    environment.kv_agent = agent  # type: ignore[attr-defined]
    listen(environment.events.test_start, lambda **_: agent.resume())
    if isinstance(environment.runner, WorkerRunner):
        speak_as_worker(environment)
        parse_own_options_once()
        end_with_parent(environment.runner)
        # a worker that is stopped on its own (Ctrl-C reaches every process) hands its records over before it leaves
        listen(environment.events.test_stopping, lambda **_: agent.halt(environment.stop_timeout or 0.0))
        listen(environment.events.quitting, lambda **_: agent.halt(environment.stop_timeout or 0.0))


def _attach_coordinator(environment: Environment) -> None:
    coordinator = Coordinator(environment)
    end_with_own_code(environment)
    parsed = environment.parsed_options
    if parsed is not None and parsed.headless:
        _refused(lambda env: coordinator.check(read_options(parsed), env.host, env.user_classes), environment)
    attach_tab(environment, coordinator)
    _refused(lambda env: attach_metrics(env, coordinator), environment)
    environment.dispatcher_class = functools.partial(  # type: ignore[assignment]
        ScenarioDispatcher, wanted=coordinator.spawning.wanted_classes, settled=lambda: not coordinator.in_round
    )
    hooks, one_by_one = environment.events, RLock()  # SIGTERM makes Locust leave twice: the first waits for the analysis
    listen(hooks.test_start, lambda **_: note_termination())
    listen(hooks.test_start, lambda **_: coordinator.on_test_start())
    listen(hooks.spawning_complete, lambda **_: coordinator.on_spawning_complete())
    listen(hooks.test_stopping, lambda **_: coordinator.on_stopping())
    listen(hooks.test_stop, lambda **_: coordinator.on_stopped())

    def stop_first(**_: Any) -> None:
        """Ctrl-C: Locust would kill the open streams unseen; stopping first gives each its record, and the run its report."""
        with leaves_at_once(coordinator.leave), one_by_one:
            if coordinator.under_way:
                environment.runner.stop()  # type: ignore[union-attr]
            coordinator.take_answer()

    def say_last_words(**_: Any) -> None:
        with leaves_at_once(coordinator.leave), one_by_one:
            said_before = coordinator.has_said_last_words
            coordinator.say_last_words()
        if said_before and not in_main():
            gevent.sleep(LEAVES_S)  # the main greenlet is leaving, and would be told to leave once more in the midst of it

    listen(hooks.quitting, stop_first)
    listen(hooks.quit, say_last_words)


listen(events.init, _on_init)
