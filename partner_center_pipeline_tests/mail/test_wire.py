"""DNS messages: dnspython writes them here, the product reads them."""

import struct

import dns.message
import dns.opcode
import dns.rcode
import dns.rrset
import pytest
from dns.rdatatype import CNAME, MX, NS, TXT, RdataType
from hypothesis import given
from hypothesis import strategies as st

from partner_center_pipeline.mail.signals import Outcome
from partner_center_pipeline.mail.wire import (
    Answer,
    Question,
    continue_chain,
    decode_text,
    impossible,
    is_truncated,
    question,
    read_answer,
)

NAME = "firma.com.tr"
SOA = f"{NAME}. 900 IN SOA ns1.{NAME}. hostmaster.{NAME}. 1 7200 3600 1209600 300"


def _question(name: str = NAME, rdtype: RdataType = TXT) -> Question:
    asked = question(name, rdtype)
    assert asked is not None
    return asked


def _message(
    asked: Question, answers: str = "", authority: str = "", rcode: dns.rcode.Rcode = dns.rcode.NOERROR
) -> bytes:
    message = dns.message.make_response(dns.message.from_wire(asked.message(7)))
    message.set_rcode(rcode)
    for section, lines in ((message.answer, answers), (message.authority, authority)):
        for line in filter(None, map(str.strip, lines.splitlines())):
            owner, ttl, _, kind, text = line.split(" ", 4)
            section.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, text))
    return message.to_wire()


def _read(
    asked: Question, answers: str = "", authority: str = "", rcode: dns.rcode.Rcode = dns.rcode.NOERROR
) -> Answer:
    return read_answer(_message(asked, answers, authority, rcode), asked)


def test_a_question_is_what_dnspython_reads() -> None:
    message = dns.message.from_wire(_question("Firma.com.TR.", MX).message(4711))
    assert message.id == 4711
    assert str(message.question[0]) == "firma.com.tr. IN MX"
    assert (message.edns, message.payload) == (0, 1232)


@pytest.mark.parametrize("name", ["", ".", "a..b", "a" * 64 + ".com", ".".join(["abcdefgh"] * 30), "şirket.com"])
def test_a_name_that_dns_cannot_hold_is_no_question(name: str) -> None:
    assert question(name, TXT) is None
    assert impossible(name).outcome.is_fact is name.isascii()


@pytest.mark.parametrize(
    ("rdtype", "lines", "records"),
    [
        (MX, f"{NAME}. 300 IN MX 10 Mail.{NAME}.", (f"10 mail.{NAME}",)),
        (MX, f"{NAME}. 300 IN MX 0 .", ("0 ",)),
        (NS, f"{NAME}. 300 IN NS ns1.natrohost.com.", ("ns1.natrohost.com",)),
        (CNAME, f"{NAME}. 300 IN CNAME x.example.", ("x.example",)),
        (TXT, f'{NAME}. 300 IN TXT "v=spf1 include:a" ".example -all"', ("v=spf1 include:a.example -all",)),
        (TXT, f'{NAME}. 300 IN TXT ""', ("",)),
        (TXT, f'{NAME}. 300 IN TXT "a\\255b\\000"', ("a\\xffb\\x00",)),
    ],
)
def test_records_are_read_in_presentation_form(rdtype: RdataType, lines: str, records: tuple[str, ...]) -> None:
    answer = _read(_question(rdtype=rdtype), lines)
    assert (answer.outcome, answer.records, answer.ttl) == (Outcome.FOUND, records, 300)


def test_the_pieces_of_a_long_text_are_joined_without_a_blank() -> None:
    key = "v=DKIM1; p=" + "A" * 500
    pieces = " ".join(f'"{key[at : at + 255]}"' for at in range(0, len(key), 255))
    assert _read(_question(), f"{NAME}. 300 IN TXT {pieces}").records == (key,)


@given(st.text())
def test_text_that_is_utf8_stays_as_it_is_but_for_control_characters(text: str) -> None:
    printable = "".join(char for char in text if ord(char) >= 32 and ord(char) != 127)
    assert decode_text(printable.encode()) == printable


@given(st.binary())
def test_any_bytes_of_text_become_text_that_every_database_stores(data: bytes) -> None:
    text = decode_text(data)
    assert "\x00" not in text
    text.encode("utf-8")


def test_no_data_and_no_such_name_are_facts_and_last_as_long_as_the_soa_says() -> None:
    assert _read(_question(), authority=SOA) == Answer(Outcome.NODATA, ttl=300)
    assert _read(_question(), authority=SOA, rcode=dns.rcode.NXDOMAIN) == Answer(Outcome.NXDOMAIN, ttl=300)


def test_a_negative_answer_without_an_soa_may_not_be_used_again() -> None:
    assert _read(_question(), rcode=dns.rcode.NXDOMAIN).ttl == 0


@pytest.mark.parametrize(
    ("rcode", "outcome"),
    [
        (dns.rcode.SERVFAIL, Outcome.SERVFAIL),
        (dns.rcode.REFUSED, Outcome.REFUSED),
        (dns.rcode.NOTIMP, Outcome.SERVFAIL),
        (dns.rcode.FORMERR, Outcome.SERVFAIL),
    ],
)
def test_an_error_code_is_no_fact(rcode: dns.rcode.Rcode, outcome: Outcome) -> None:
    answer = _read(_question(), rcode=rcode)
    assert answer.outcome is outcome
    assert not answer.outcome.is_fact


def test_cnames_are_followed_inside_an_answer_and_the_lowest_ttl_counts() -> None:
    answer = _read(
        _question(),
        f"""{NAME}. 300 IN CNAME a.example.
        a.example. 60 IN CNAME b.example.
        b.example. 900 IN TXT "found" """,
    )
    assert answer == Answer(Outcome.FOUND, ("found",), 60, ("a.example", "b.example"))


def test_a_cname_to_a_name_that_does_not_exist_is_still_seen() -> None:
    # A tenant whose DKIM was prepared and never switched on looks like this.
    answer = _read(_question(), f"{NAME}. 300 IN CNAME a.example.", SOA, dns.rcode.NXDOMAIN)
    assert (answer.outcome, answer.cnames, answer.open_end) == (Outcome.NXDOMAIN, ("a.example",), False)


def test_a_cname_whose_target_the_server_did_not_look_up_has_an_open_end() -> None:
    answer = _read(_question(), f"{NAME}. 300 IN CNAME a.example.")
    assert (answer.outcome, answer.open_end) == (Outcome.NODATA, True)


def test_a_server_that_only_refers_to_others_says_nothing_about_the_name() -> None:
    answer = _read(_question(), authority="tr. 900 IN NS ns1.nic.tr.")
    assert answer.outcome is Outcome.SERVFAIL


def test_an_open_end_keeps_the_lower_ttl_of_both_answers() -> None:
    first = _read(_question(), f"{NAME}. 60 IN CNAME a.example.")
    assert continue_chain(first, Answer(Outcome.FOUND, ("x",), 300)).ttl == 60
    assert continue_chain(first, Answer(Outcome.FOUND, ("x",), 30)).ttl == 30


def test_a_loop_of_cnames_inside_an_answer_is_an_error_and_no_fact() -> None:
    loop = f"{NAME}. 300 IN CNAME a.example.\na.example. 300 IN CNAME {NAME}."
    for rcode in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        assert _read(_question(), loop, SOA, rcode) == Answer(Outcome.SERVFAIL)


def test_a_loop_over_several_answers_is_an_error_and_no_fact() -> None:
    first = Answer(Outcome.NODATA, cnames=("a.example",), open_end=True)
    rest = Answer(Outcome.NODATA, cnames=("b.example", "a.example"), open_end=True)
    assert continue_chain(first, rest) == Answer(Outcome.SERVFAIL)


def test_the_end_of_a_chain_that_is_not_followed_to_its_end_is_not_known() -> None:
    chain = [f"c{number}.example." for number in range(10)]
    lines = [f"{here} 300 IN CNAME {there}" for here, there in zip([f"{NAME}.", *chain], chain, strict=False)]
    end = '{} 300 IN TXT "found"'
    eight = _read(_question(), "\n".join([*lines[:8], end.format(chain[7])]))
    assert (eight.outcome, len(eight.cnames)) == (Outcome.FOUND, 8)
    assert _read(_question(), "\n".join([*lines[:9], end.format(chain[8])])) == Answer(Outcome.SERVFAIL)
    nine = Answer(Outcome.FOUND, ("found",), 300, ("c8.example",))
    assert continue_chain(Answer(Outcome.NODATA, cnames=eight.cnames, open_end=True), nine) == Answer(Outcome.SERVFAIL)


def test_an_answer_to_another_question_is_malformed() -> None:
    message = _message(_question("other.example"), 'other.example. 300 IN TXT "x"')
    assert read_answer(message, _question()).outcome is Outcome.MALFORMED


STRANGERS = ('other.example. 300 IN TXT "x"', "other.example. 300 IN CNAME c.example.", f"{NAME}. 300 IN A 192.0.2.1")


@pytest.mark.parametrize("stranger", STRANGERS)
def test_unrequested_records_are_ignored_beside_the_answer_and_prove_no_absence(stranger: str) -> None:
    assert _read(_question(), f'{stranger}\n{NAME}. 300 IN TXT "asked"').records == ("asked",)
    for rcode in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        assert _read(_question(), stranger, SOA, rcode).outcome is Outcome.MALFORMED


def test_a_dname_and_the_cname_made_of_it_are_a_chain_like_any_other() -> None:
    lines = f"com.tr. 300 IN DNAME example.\n{NAME}. 300 IN CNAME firma.example."
    answer = _read(_question(), lines, SOA, dns.rcode.NXDOMAIN)
    assert (answer.outcome, answer.cnames) == (Outcome.NXDOMAIN, ("firma.example",))


def test_half_an_answer_is_no_fact() -> None:
    # Over TCP there is nowhere else to ask, and what is missing may be what was asked for.
    for answers in ("", f'{NAME}. 300 IN TXT "first"'):
        whole = _message(_question(), answers, SOA)
        message = bytes([whole[0], whole[1], whole[2] | 0x02, *whole[3:]])
        assert is_truncated(message)
        assert read_answer(message, _question()).outcome is Outcome.MALFORMED


@pytest.mark.parametrize("answers", ["", f'{NAME}. 300 IN TXT "x"'])
def test_what_is_no_whole_answer_to_a_query_is_malformed(answers: str) -> None:
    whole = _message(_question(), answers, SOA)
    assert read_answer(whole, _question()).outcome.is_fact
    behind = whole + b"\0"
    notify = bytes([whole[0], whole[1], whole[2] | dns.opcode.NOTIFY << 3, *whole[3:]])
    asked_again = bytes([whole[0], whole[1], whole[2] & 0x7F, *whole[3:]])
    for broken in (behind, notify, asked_again):
        assert read_answer(broken, _question()).outcome is Outcome.MALFORMED


def test_an_answer_of_another_class_is_malformed() -> None:
    whole = _message(_question(), f'{NAME}. 300 IN TXT "x"')
    chaos = whole.replace(struct.pack("!HHI", TXT, 1, 300), struct.pack("!HHI", TXT, 3, 300))
    assert chaos != whole
    assert read_answer(chaos, _question()).outcome is Outcome.MALFORMED


def test_an_soa_that_is_too_short_for_its_numbers_is_malformed() -> None:
    message = _message(_question(), authority=SOA)
    at = message.index(struct.pack("!HHI", 6, 1, 900)) + 8
    end = at + 2 + int.from_bytes(message[at : at + 2], "big")
    short = message[:at] + b"\0\x04" + message[at + 2 : at + 6] + message[end:]
    assert read_answer(message, _question()).outcome is Outcome.NODATA
    assert read_answer(short, _question()).outcome is Outcome.MALFORMED


def test_the_upper_half_of_an_error_code_counts() -> None:
    # Its lower half reads "no error" (BADVERS is 16).
    response = dns.message.make_response(dns.message.from_wire(_question().message(7)))
    response.set_rcode(dns.rcode.BADVERS)
    assert read_answer(response.to_wire(), _question()).outcome is Outcome.SERVFAIL
    response.set_rcode(dns.rcode.NOERROR)
    assert read_answer(response.to_wire(), _question()).outcome is Outcome.NODATA


@given(st.binary(max_size=600))
def test_no_bytes_make_the_reader_raise(data: bytes) -> None:
    is_truncated(data)
    read_answer(data, _question())


@given(st.data())
def test_no_damage_to_a_real_answer_makes_the_reader_raise(data: st.DataObject) -> None:
    asked = _question(rdtype=data.draw(st.sampled_from([MX, TXT, NS, CNAME])))
    lines = (
        f"{NAME}. 300 IN {asked.rdtype.name} "
        + {MX: "10 a.example.", TXT: '"x"', NS: "n.example.", CNAME: "c.example."}[asked.rdtype]
    )
    message = bytearray(_message(asked, lines, SOA))
    for at in data.draw(st.lists(st.integers(2, len(message) - 1), min_size=1, max_size=4)):
        message[at] = data.draw(st.integers(0, 255))
    del message[data.draw(st.integers(0, len(message))) :]
    read_answer(bytes(message), asked)
