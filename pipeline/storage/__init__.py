"""What lies on disk: stores that are published whole or not at all, and receipts."""
