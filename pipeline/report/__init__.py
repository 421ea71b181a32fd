"""The report: one self-contained page, pictures first."""
