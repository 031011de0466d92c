"""What MX records alone say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_center_pipeline.mail import classify_provider
from partner_center_pipeline.mail.mx import read_mx
from partner_center_pipeline.mail.providers import owner_of
from partner_center_pipeline.vocabulary import Provider

M365 = "contoso-com.mail.protection.outlook.com"
GOOGLE = "aspmx.l.google.com"
GATEWAY = "mx1-eu1.ppe-hosted.com"


@pytest.mark.parametrize(
    ("mx", "provider"),
    [
        (None, Provider.UNKNOWN),
        ("", Provider.UNKNOWN),
        ([], Provider.UNKNOWN),
        (M365, Provider.M365),
        ([M365], Provider.M365),
        ([(20, GOOGLE), (10, M365)], Provider.M365),
        ([(10, GOOGLE), (20, M365)], Provider.GOOGLE),
        ([(10, GATEWAY), (20, M365)], Provider.UNKNOWN),
        ("outlook.com.evil.example", Provider.LOCAL),
        ("mail.firma.com.tr", Provider.LOCAL),
        ("firma.com.tr", Provider.LOCAL),
        ("203.0.113.7", Provider.LOCAL),
        (GATEWAY, Provider.UNKNOWN),
        ("hotmail-com.olc.protection.outlook.com", Provider.UNKNOWN),
        ([(0, ".")], Provider.UNKNOWN),
        ([(0, "")], Provider.UNKNOWN),
        ("localhost", Provider.UNKNOWN),
        ("localhost.localdomain.", Provider.UNKNOWN),
        ("127.0.0.1", Provider.UNKNOWN),
        ("mail.sedoparking.com", Provider.UNKNOWN),
    ],
)
def test_the_lowest_preference_decides_and_only_a_mailbox_is_a_provider(
    mx: str | list[str] | list[tuple[int, str]] | None, provider: Provider
) -> None:
    assert classify_provider(mx) is provider


def test_an_iterator_of_hosts_is_read_like_a_list() -> None:
    assert classify_provider(iter([M365])) is Provider.M365


def test_at_equal_preference_mailbox_goes_before_gateway_before_unknown_host() -> None:
    mixed = read_mx([(10, "mail.firma.com"), (10, GATEWAY), (10, GOOGLE)])
    assert (classify_provider(mixed), mixed.gateway, mixed.tie) == (Provider.GOOGLE, "Proofpoint Essentials", True)
    assert read_mx([(10, "mail.firma.com"), (10, GATEWAY)]).gateway == "Proofpoint Essentials"


def test_of_mailboxes_at_equal_preference_the_heavier_one_decides() -> None:
    mx = [(10, GOOGLE), (10, M365)]
    assert classify_provider(read_mx(mx)) is Provider.GOOGLE
    microsoft = owner_of(M365)
    assert microsoft is not None
    heavier = read_mx(mx, weights={microsoft: 50})
    assert (classify_provider(heavier), heavier.host, heavier.tie) == (Provider.M365, M365, True)
    assert classify_provider(read_mx([(5, GOOGLE), (10, M365)], weights={microsoft: 50})) is Provider.GOOGLE


def test_a_provider_at_another_preference_is_recorded_as_mixed() -> None:
    assert read_mx([(10, GOOGLE), (20, M365)]).mixed
    assert not read_mx([(10, GOOGLE), (20, "alt1.aspmx.l.google.com")]).mixed


@pytest.mark.parametrize(
    ("mx", "reason"),
    [([(0, ".")], "null_mx"), ([(10, "localhost.")], "localhost"), ([(10, "mx.bodis.com")], "parking")],
)
def test_records_that_name_no_mail_host_say_why(mx: list[tuple[int, str]], reason: str) -> None:
    assert read_mx(mx).no_mail == reason


def test_a_null_mx_beside_a_real_host_is_passed_over() -> None:
    reading = read_mx([(0, "."), (10, GOOGLE)])
    assert (reading.no_mail, classify_provider(reading)) == (None, Provider.GOOGLE)


def test_a_host_that_is_a_cname_is_recognised_by_its_target() -> None:
    reading = read_mx([(10, "mail.firma.com.tr")], {"mail.firma.com.tr": ("x.example", "mail.natrohost.com")})
    assert (classify_provider(reading), reading.host, reading.name) == (
        Provider.HOSTING,
        "mail.firma.com.tr",
        "mail.natrohost.com",
    )


@given(st.lists(st.tuples(st.integers(0, 65535), st.sampled_from([M365, GOOGLE, GATEWAY, "mail.a.com", "."]))))
def test_the_order_of_the_records_does_not_matter(mx: list[tuple[int, str]]) -> None:
    assert read_mx(mx) == read_mx(reversed(mx))


@given(st.one_of(st.none(), st.text(), st.lists(st.text()), st.lists(st.tuples(st.integers(), st.text()))))
def test_nothing_makes_it_raise(mx: str | list[str] | list[tuple[int, str]] | None) -> None:
    classify_provider(mx)
