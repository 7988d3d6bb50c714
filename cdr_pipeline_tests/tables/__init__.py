"""Columns and files: the contract, the way a record becomes a row, measures, and the store."""
