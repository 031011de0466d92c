"""Shows windows as materialized that are covered in the ledger, but of which Dagster knows nothing.

So it is after an earlier HUNTER_SYNC_START (the first window that was ever synced covers all before it), after another
width, and where Dagster's own storage is new. Nothing is missing in them, so nothing is fetched for them either. Not
here: what is covered (`warehouse.ledger`), windows that are missing (`automation`).
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import dagster as dg

from partner_center_pipeline.defs.automation import worked_on
from partner_center_pipeline.defs.periodic import logged
from partner_center_pipeline.defs.recovery import end_dead_runs
from partner_center_pipeline.defs.resources import WarehouseResource, utc_now
from partner_center_pipeline.settings import SettingsError
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import ledger
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.windows import SyncWindow, WindowGrid

NAME: Final = "partner_center_covered_sensor"
MOST_LOOKED_AT: Final = 5_000
"""Windows that one tick looks at."""
MOST_SHOWN: Final = 100
"""Windows that one tick reports: five events each, which take Dagster some seconds in all."""

_DONE: Final = "done"
_EVERYTHING_SHOWN: Final = "every window that is covered is shown as materialized"


def covered_sensor(grid: WindowGrid) -> dg.SensorDefinition:
    """Make the sensor. It goes through the windows once for each grid, and remembers in its cursor how far it got."""

    @dg.sensor(
        name=NAME,
        asset_selection=dg.AssetSelection.assets(*(str(asset) for asset in Asset)),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reports windows as materialized that are covered already, such as those before the first start "
        "that was set. It requests no runs. And it ends runs whose process died.",
    )
    def sensor(context: dg.SensorEvaluationContext, warehouse: WarehouseResource) -> dg.SensorResult | dg.SkipReason:
        of_grid = f"{grid.first}/{grid.width}:"
        cursor = context.cursor or ""
        try:
            with warehouse.open() as db:
                # Here, too: a tick of the sensor that requests days of windows takes minutes on a busy machine.
                end_dead_runs(context.instance, db, utc_now)
                if grid.first is None or cursor == of_grid + _DONE:
                    return logged(context, dg.SkipReason(_EVERYTHING_SHOWN))
                start = int(cursor.removeprefix(of_grid)) if cursor.startswith(of_grid) else grid.first
                events, reached = _events(context.instance, db, grid, start)
        except (SettingsError, WarehouseError) as error:
            return logged(context, dg.SkipReason(str(error)))
        count = len({event.partition for event in events})
        said = f"{count} windows are shown as covered now; no run is needed for them" if events else _EVERYTHING_SHOWN
        context.log.debug(said)
        return dg.SensorResult(
            skip_reason=said,
            asset_events=events,
            cursor=of_grid + (_DONE if reached is None else str(reached)),
        )

    return sensor


def _events(
    instance: dg.DagsterInstance, db: Warehouse, grid: WindowGrid, start: int
) -> tuple[list[dg.AssetMaterialization], int | None]:
    """Return what is to be reported of the windows from `start` (ticks) on, and where to go on; None at the end."""
    with db.read() as connection:
        done = {asset: ledger.covered(connection, [asset]) for asset in Asset}
    end = max((intervals[-1][1] for intervals in done.values() if intervals), default=start)
    until = min(end, start + MOST_LOOKED_AT * grid.width)
    at_work = list(worked_on(instance, grid))
    keys = [window.key for window in grid.between(start, until)]
    known = {asset: _materialized(instance, asset, keys, grid) for asset in Asset}
    missing = (
        (window, assets)
        for window in grid.between(start, until)
        if not any(low < window.end and window.start < high for low, high in at_work)
        and (assets := [one for one in Asset if window.key not in known[one] and _is_covered(window, done[one])])
    )
    found = list(islice(missing, MOST_SHOWN))
    if len(found) == MOST_SHOWN:
        reached: int | None = found[-1][0].end
    else:
        reached = until if until < end else None
    with db.read() as connection:
        covering = ledger.covering(connection, [window for window, _ in found])
    return list(_materializations(found, covering)), reached


def _materialized(instance: dg.DagsterInstance, asset: Asset, keys: Sequence[str], grid: WindowGrid) -> set[str]:
    """Return the windows that Dagster shows as materialized, also by runs that were deleted (`pruning`)."""
    key = dg.AssetKey(str(asset))
    noted = instance.get_status_by_partition(key, keys, grid.partitions()) or {}
    by_ranges = {window for window, status in noted.items() if status is not None and status.name == "MATERIALIZED"}
    return by_ranges | instance.get_materialized_partitions(key)


def _is_covered(window: SyncWindow, intervals: Sequence[tuple[int, int]]) -> bool:
    return any(low <= window.start and window.end <= high for low, high in intervals)


def _materializations(
    found: Sequence[tuple[SyncWindow, Sequence[Asset]]], covering: dict[SyncWindow, SyncWindow]
) -> Iterator[dg.AssetMaterialization]:
    for window, assets in found:
        by = covering.get(window)
        if by is None:
            said = "covered by windows of another width"
        elif by.start == window.start:
            said = "covered by an earlier run, which this Dagster instance does not know"
        else:
            said = f"covered by the window {by.key}, which answers for {by}"
        for asset in assets:
            yield dg.AssetMaterialization(
                str(asset),
                partition=window.key,
                description=said[0].upper() + said[1:],
                metadata={"covered_by": said, "window": window.key, "interval": str(window)},
            )
