"""What is estimated from the measurement before it is reconstructed."""
