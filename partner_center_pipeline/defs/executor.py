"""The executor of the chain: steps in one process, until one fails that all other steps need.

Dagster's own goes on, and logs an error for each step that cannot run any more. On the run page these five errors stand
below the one that matters, where a person reads first.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import dagster as dg


class _EndsWithTheFailure(dg.Executor):
    """Executes as `inner` does, and ends as soon as no step is left that can run."""

    def __init__(self, inner: dg.Executor) -> None:
        self._inner = inner

    @property
    def retries(self) -> Any:
        return self._inner.retries

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[Any]:
        needs: Mapping[str, set[str]] = execution_plan.get_executable_step_deps()
        ended: set[str] = set()
        failed: set[str] = set()
        events: Any = self._inner.execute(plan_context, execution_plan)
        for event in events:
            yield event
            if event.is_step_success or event.is_step_skipped:
                ended.add(event.step_key)
            elif event.is_step_failure:
                failed.add(event.step_key)
                if _are_lost(needs, ended, failed):
                    events.close()
                    # Dagster's own frees the step's slot in its pool only after the event was taken.
                    storage = plan_context.instance.event_log_storage
                    storage.free_concurrency_slot_for_step(plan_context.run_id, event.step_key)
                    return


def _are_lost(needs: Mapping[str, set[str]], ended: set[str], failed: set[str]) -> bool:
    """Say whether each step that has not ended needs, through other steps or not, one that failed."""
    lost = set(failed)
    while more := {step for step, needed in needs.items() if step not in lost | ended and needed & lost}:
        lost |= more
    return not (needs.keys() - ended - lost)


_IN_PROCESS: Final[Any] = dg.in_process_executor


def _make(context: dg.InitExecutorContext) -> dg.Executor:
    return _EndsWithTheFailure(_IN_PROCESS.executor_creation_fn(context))


EXECUTOR: Final = dg.ExecutorDefinition(
    name="in_process",
    config_schema=_IN_PROCESS.config_schema,
    executor_creation_fn=_make,
    description="Steps in one process; ends with the first failure that all other steps need.",
)
