"""The aggregates: made from `cdrs` alone, by the measures of `kpi`."""
