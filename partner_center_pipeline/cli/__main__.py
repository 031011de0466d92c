"""`python -m partner_center_pipeline.cli`: the same commands where the script is not on PATH."""

from partner_center_pipeline.cli.base import main

main()
