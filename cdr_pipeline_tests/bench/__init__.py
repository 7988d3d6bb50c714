"""Tests of the benchmark's calls, server and comparison of values. No test asserts a time."""
