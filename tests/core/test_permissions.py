from paretune.core.permissions import Permissions


def test_both_are_off_unless_they_are_turned_on() -> None:
    assert Permissions() == Permissions.from_json({}) == Permissions(False, False)


def test_jobs_have_them_under_the_names_of_before() -> None:
    for network in (False, True):
        for code in (False, True):
            allowed = Permissions(network, code)
            names = {"allow_network": network, "trust_remote_code": code}
            assert allowed.to_json() == names
            assert Permissions.from_json({"data": {}, **names}) == allowed
