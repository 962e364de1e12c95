"""Tests of app/model."""
