"""Defines what every package uses: records, identifiers, tracking modes, verdicts, errors."""
