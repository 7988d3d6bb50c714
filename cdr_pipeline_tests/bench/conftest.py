"""A small corpus and its server, shared by all tests of the benchmark."""

from collections.abc import Iterator

import pytest

from cdr_pipeline.bench import calls
from cdr_pipeline.bench.calls import Corpus
from cdr_pipeline.bench.server import Serving, serving

CALLS = 300
DAYS = 2


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Two days, each with calls of every campaign and with late keys."""
    return calls.make(tmp_path_factory.mktemp("bench") / "corpus", CALLS, days=DAYS)


@pytest.fixture(scope="session")
def server(corpus: Corpus) -> Iterator[Serving]:
    """The corpus, served over HTTP on loopback."""
    with serving(corpus) as running:
        yield running
