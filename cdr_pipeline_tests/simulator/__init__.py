"""The vendor on loopback: what it promises when honest, and each way in which it is not."""
