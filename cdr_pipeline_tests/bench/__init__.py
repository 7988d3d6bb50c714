"""What the benchmark measures with: its calls, its server, its judge. No test asserts a time."""
