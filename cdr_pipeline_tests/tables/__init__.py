"""Tests of columns and files: the contract, how a record becomes a row, measures, the store."""
