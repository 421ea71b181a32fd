"""Linear operators on torch tensors. They never touch the disk and never choose a device."""
