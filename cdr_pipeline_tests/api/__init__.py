"""Tests of the package that knows the vendor: one request, budget, one reading, one proof."""
