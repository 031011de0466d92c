"""`python -m partner_center_pipeline`: the same as `partner-center`."""

from partner_center_pipeline.cli import main

main()
