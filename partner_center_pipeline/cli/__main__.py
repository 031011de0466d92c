"""`python -m partner_center_pipeline.cli`, where the script is not on the path."""

from partner_center_pipeline.cli.base import main

main()
