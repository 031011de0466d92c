"""Measurements that a person runs: `python -m partner_center_pipeline_tests.benchmarks --help`.

One module per benchmark. What does not belong here: what must hold at every change, which is a test.
"""
