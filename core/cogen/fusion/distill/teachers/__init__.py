"""Teachers, and what is kept of what they predict."""
