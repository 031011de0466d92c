"""Loaded once by the fork server for each process: Dagster's storage, and the definitions under the settings."""

from tempfile import TemporaryDirectory

import dagster as dg

from partner_center_pipeline.settings import Settings
from partner_center_pipeline_tests.defs.project import load_definitions

load_definitions(Settings.load().grid)
with TemporaryDirectory() as folder, dg.DagsterInstance.local_temp(folder):
    pass  # opening one imports 290 modules
