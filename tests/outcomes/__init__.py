"""Tests of app/outcomes."""
