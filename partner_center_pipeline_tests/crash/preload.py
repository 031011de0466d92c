"""Loaded once by the fork server, for each process: the definitions, under the sweep's settings."""

from partner_center_pipeline.settings import Settings
from partner_center_pipeline_tests.defs.project import load_definitions

load_definitions(Settings.load().grid)
