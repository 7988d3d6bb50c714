"""From responses as received to typed calls and rejects."""
