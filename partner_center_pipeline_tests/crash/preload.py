"""What the fork server loads once, so that each process begins with it: the definitions, under the sweep's settings."""

from partner_center_pipeline.settings import Settings
from partner_center_pipeline_tests.defs.project import load_definitions

load_definitions(Settings.load().grid)
