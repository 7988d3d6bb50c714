"""The token in force: one sign-in, and a renewal only when it is due."""

import json

import pytest

from cdr_pipeline.errors import Unauthorized
from cdr_pipeline.simulator import Chaos, Vendor
from cdr_pipeline_tests.api.conftest import KEY, Connect, Reply, Script, ask, error, granted


@pytest.mark.parametrize("grant", [granted("t-1"), granted("t-1", status=201), granted(" t-1\r\n")])
def test_an_api_key_signs_in_once_for_many_requests(connect: Connect, grant: Reply) -> None:
    script = Script(grant, Reply())
    client = connect(script, token=None, api_key=KEY)
    for _ in range(3):
        ask(client)
    sign_in, *listings = script.heard
    assert (sign_in.method, sign_in.path) == ("POST", "/v3/auth/token")
    assert json.loads(sign_in.body) == {"api_key": KEY}
    assert "authorization" not in sign_in.headers
    assert [heard.headers["authorization"] for heard in listings] == ["Bearer t-1"] * 3


def test_a_token_past_its_expiry_is_renewed_before_it_is_refused(
    connect: Connect,
) -> None:
    script = Script(granted("t-1", 1e-6), Reply(), granted("t-2"), Reply())
    client = connect(script, token=None, api_key=KEY)
    for _ in range(3):
        ask(client)
    paths = [heard.path.rpartition("/")[2] for heard in script.heard]
    assert paths == ["token", "cdr", "token", "cdr", "cdr"]


@pytest.mark.parametrize("expired_in", [None, "", 0, "86400", "2027-01-01", [1], 10**400])
def test_a_token_that_does_not_say_when_it_expires_is_kept_for_a_day(
    connect: Connect, expired_in: object
) -> None:
    script = Script(granted("t-1", expired_in), Reply())
    client = connect(script, token=None, api_key=KEY)
    for _ in range(2):
        ask(client)
    assert len(script.heard) == 3


def test_a_token_that_is_refused_during_work_is_renewed_each_time(connect: Connect) -> None:
    vendor = Vendor(records=[], api_key=KEY, chaos=Chaos.parse("expiring-token=2"))
    client = connect(vendor, token=None, api_key=KEY)
    assert [ask(client).retries for _ in range(9)] == [0, 0, 1, 0, 1, 0, 1, 0, 1]
    sign_ins = [exchange for exchange in vendor.requests if exchange.path == "/v3/auth/token"]
    assert len(sign_ins) == 5


def test_after_a_refused_new_token_one_more_sign_in_is_tried_and_no_other(connect: Connect) -> None:
    script = Script(granted("t-1"), error(401), granted("t-2"), error(401))
    with pytest.raises(Unauthorized, match="CDR_API_KEY"):
        ask(connect(script, token=None, api_key=KEY))
    assert len(script.heard) == 4


def test_the_error_says_that_another_run_may_have_signed_in_meanwhile(connect: Connect) -> None:
    """Two runs at once loaded from a vendor where each sign-in ended the token before: the advice
    to check the key was wrong.
    """
    script = Script(granted("t-1"), Reply(), error(401), granted("t-2"), error(401))
    client = connect(script, token=None, api_key=KEY)
    ask(client)
    with pytest.raises(Unauthorized, match=r"CDR_API_KEY.* let one run load at a time"):
        ask(client)
    assert len(script.heard) == 5
