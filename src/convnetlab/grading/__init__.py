"""Grading a class: collect, rebuild, execute in a sandbox, mark in the trusted parent, report."""
