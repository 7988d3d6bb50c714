"""What is counted, from `cdrs` alone, by the measures of `kpi`."""
