"""Mutation testing: small changes of the code, each of which some test must notice.

`python -m partner_center_pipeline_tests.mutation` runs it (suites.md, "Mutation testing").
"""
