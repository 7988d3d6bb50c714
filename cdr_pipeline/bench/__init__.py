"""`cdr-pipeline-bench`: what loading and reading cost, here and with others, on your own machine.

A made-up vendor (`calls`, `server`) is read by each of the `contestants`, in a process of its own
(`contest`), and what they wrote is compared with the truth, value by value (`truth`). Nothing of
the package imports this, and the truth knows nothing of the package.
"""
