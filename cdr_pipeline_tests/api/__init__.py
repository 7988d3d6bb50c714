"""The wing that knows the vendor: one request, the budget, one reading, one proved window."""
