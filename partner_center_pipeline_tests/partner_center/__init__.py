"""What the pipeline promises about speaking to Microsoft."""
