"""What the product promises, as tests. The folders mirror `partner_center_pipeline`."""
