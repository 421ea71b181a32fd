"""MRI: from samples to normal equations, and what that takes."""
