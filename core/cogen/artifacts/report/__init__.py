"""The report of a composite: one HTML file."""
