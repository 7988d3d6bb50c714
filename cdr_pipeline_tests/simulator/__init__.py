"""Tests of the vendor simulator: what it promises when honest, and each of its faults."""
