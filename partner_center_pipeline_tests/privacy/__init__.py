"""What leads/ promises: every case of identity.md, and the properties over texts and payloads of any shape."""
