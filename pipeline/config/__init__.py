"""Settings: what `config.yaml` may say, checked once and handed to each stage as JSON."""
