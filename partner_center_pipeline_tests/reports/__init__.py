"""The report's writers, on rows that are made up."""
