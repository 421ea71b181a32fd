"""RF: from measurements to normal equations, and what that takes."""
