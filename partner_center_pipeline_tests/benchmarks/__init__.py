"""Measurements that a person runs: `python -m partner_center_pipeline_tests.benchmarks --help`.

One module per benchmark. Not here: what must hold at every change, which is a test.
"""
