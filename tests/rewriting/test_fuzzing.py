"""Whatever mail and tokens are made of: nothing is raised but what is documented, and nothing lost.

`make torture` looks at more of them.
"""

import os
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.messages.prepare import _edits
from app.rewriting import header_fields, iso2022, mime
from app.rewriting.html import CompiledBody, Link, Options, RewriteError, compile_html, rewrite_text
from app.rewriting.mime import Edit, Leaf
from app.rewriting.urls import read_url
from app.tracking.tokens import BadTokenError, LinkToken, MessageToken, TokenReaders, Tokens
from tests.support.hostile_mail import CHARSET, HREF, HTML, MESSAGE

US = "https://t.example"
TOKENS = Tokens(["a signing key of the fuzzer's"])
OTHER = Tokens(["another signing key of the fuzzer's"])
MESSAGE_TOKEN = TOKENS.message(MessageToken(bytes(16), 1, 2)).encode()
LONG = "MAILWAKE_TORTURE" in os.environ
fuzzed = settings(
    max_examples=10_000 if LONG else 150, suppress_health_check=list(HealthCheck), deadline=None
)
pytestmark = [pytest.mark.torture] if LONG else []


def sign(link: Link) -> str:
    return TOKENS.link(LinkToken(1, link.index, link.target))


OPTIONS = st.builds(
    Options,
    clicks=st.booleans(),
    opens=st.booleans(),
    utm=st.sampled_from([{}, {"utm_source": "a b&c#\u00fc\r\n"}]),
    own_origins=st.just((US,)),
    excluded_domains=st.sampled_from([(), ("x.example", "\u00fc", "")]),
    max_url=st.sampled_from([2000, 20, 0]),
)


def compiled(html: bytes, options: Options, charset: str | None) -> CompiledBody | None:
    try:
        return compile_html(html, options, sign, US, charset)
    except RewriteError:
        return None


@fuzzed
@given(HTML, OPTIONS, CHARSET)
def test_any_html_comes_back_and_its_links_lead_where_they_are_signed_to(
    html: bytes, options: Options, charset: str | None
) -> None:
    found = compiled(html, options, charset)
    if found is None:
        return
    assert found == compiled(html, options, charset)
    mail = found.personalise(MESSAGE_TOKEN)
    assert found.restore(mail, MESSAGE_TOKEN) == html
    tracked = [link for link in found.links if link.tracked]
    written = mail if found.codec == "ascii" else mail.decode(found.codec).encode("utf-8")
    put_in = re.findall(rb"https://t\.example/c/([\w-]+)/([\w-]+)", written)
    assert len(put_in) >= len(tracked)
    for link in tracked:
        token = sign(link)
        assert (MESSAGE_TOKEN, token.encode()) in put_in
        assert TOKENS.read_link(token).url == link.target
        assert re.fullmatch(r"https?://[!-~]+", link.target, re.IGNORECASE)
        assert len(link.target) <= options.max_url


@fuzzed
@given(st.lists(HREF, max_size=5), OPTIONS)
def test_any_text_comes_back(pieces: list[bytes], options: Options) -> None:
    text = "\n".join(piece.decode("utf-8", "replace") for piece in pieces)
    found = rewrite_text(text, options, sign, US)
    source = text.encode("utf-8", "surrogatepass")
    assert found.restore(found.personalise(MESSAGE_TOKEN), MESSAGE_TOKEN) == source
    for link in found.links:
        assert link.tracked == bool(link.target) and read_url(link.url) is not None


@fuzzed
@given(st.one_of(HTML, st.lists(HREF, max_size=5).map(b" ".join)), CHARSET, st.booleans())
def test_any_text_in_any_charset_comes_back(text: bytes, charset: str | None, delsp: bool) -> None:
    try:
        found = rewrite_text(
            text, Options(own_origins=(US,)), sign, US, charset=charset, flowed=True, delsp=delsp
        )
    except RewriteError:
        return
    mail = found.personalise(MESSAGE_TOKEN)
    assert found.restore(mail, MESSAGE_TOKEN) == text
    written = mail if found.codec == "ascii" else mail.decode(found.codec).encode("utf-8")
    assert written.count(b"https://t.example/c/") >= sum(link.tracked for link in found.links)


ISO_2022 = st.lists(
    st.sampled_from(
        [
            b"\x1b$B",
            b"\x1b$@",
            b"\x1b(B",
            b"\x1b(J",
            b"\x1b(I",
            b"\x1b$(D",
            b"\x1b$)C",
            b"\x0e",
            b"\x0f",
            b"\x1b",
            b"<a href='http://x.example/",
            b"'>",
            b"</a>",
            b"</body>",
            b"%F",
            b"<>",
            b"\\~",
            b"x",
            b"\n",
            b"\xff",
            b"<a href=http://y.example>",
            b"http://z.example/ ",
        ]
    ),
    max_size=20,
).map(b"".join)


@fuzzed
@given(ISO_2022, st.sampled_from(["iso-2022-jp", "iso-2022-kr"]))
def test_what_is_shifted_reads_the_same_behind_every_link(html: bytes, charset: str) -> None:
    for found in (
        compiled(html, Options(opens=False), charset),
        rewrite_text(html, Options(), sign, US, charset=charset),
    ):
        assert found is not None
        mail = found.personalise(MESSAGE_TOKEN)
        assert found.restore(mail, MESSAGE_TOKEN) == html
        assert iso2022.mask(mail).reset == iso2022.mask(html).reset
        # Behind each link stands what stood there, read as it was read.
        masked, new = iso2022.mask(html).html, iso2022.mask(mail).html
        grown = 0
        ends = [*(splice.start for splice in found.splices[1:]), len(html)]
        for splice, end in zip(found.splices, ends, strict=False):
            grown += len(splice.inserted(MESSAGE_TOKEN)) - len(splice.removed)
            assert new[splice.end + grown : end + grown] == masked[splice.end : end]


def every_link(leaf: Leaf, body: bytes) -> Sequence[Edit]:
    """As messages on their way out are rewritten."""
    if leaf.kind != "text/html":
        return []
    found = compiled(body, Options(own_origins=(US,)), leaf.charset)
    return list(_edits(found, MESSAGE_TOKEN, MESSAGE_TOKEN)) if found else []


@fuzzed
@given(MESSAGE, st.booleans())
def test_any_message_stays_as_it_is_but_for_its_leaves(message: bytes, fold: bool) -> None:
    assert mime.rewrite(message, lambda *_: [], fold).message == message
    rewritten = mime.rewrite(message, every_link, fold)
    assert rewritten == mime.rewrite(message, every_link, fold)
    assert all(note.why != "unproven" for note in rewritten.notes)
    new = rewritten.message
    before, after = list(mime.leaves(message)), list(mime.leaves(new))
    assert [leaf.kind for leaf in before] == [leaf.kind for leaf in after]
    if [leaf.encoding for leaf in before] == [leaf.encoding for leaf in after]:  # none was folded
        old = new_ = 0
        for was, is_ in zip(before, after, strict=True):
            assert message[old : was.start] == new[new_ : is_.start]
            old, new_ = was.end, is_.end
        assert message[old:] == new[new_:]
    without, own = header_fields.without_own(message)
    assert header_fields.without_own(without) == (without, {})
    assert all(isinstance(value, str) for value in own.values())


SENT = MessageToken(bytes(16), 1, 2)
LINK = LinkToken(1, 2, "https://example.com/boots?a=1")
READERS: list[Any] = [
    TOKENS.read_message,
    TOKENS.read_unsubscribe,
    TOKENS.read_link,
    TokenReaders([TOKENS]).read_message,
    TokenReaders([TOKENS]).read_unsubscribe,
    TokenReaders([TOKENS]).read_link,
]
VALID = [
    TOKENS.message(SENT),
    TOKENS.unsubscribe(SENT),
    TOKENS.link(LINK),
    TOKENS.link(LINK._replace(newsletter=9)),
]
FOREIGN = [OTHER.message(SENT), OTHER.unsubscribe(SENT), OTHER.link(LINK)]


def raw(token: str) -> bytes:
    return urlsafe_b64decode(token + "=" * (-len(token) % 4))


def written(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


@st.composite
def forged(draw: st.DrawFn) -> str:
    """Of valid tokens, by who has no key."""
    token, other = draw(st.sampled_from(VALID)), draw(st.sampled_from(VALID + FOREIGN))
    data, strange = bytearray(raw(token)), raw(other)
    at = draw(st.integers(0, len(data) - 1))
    kind = draw(st.integers(0, 9))
    if kind == 0:  # bits
        data[at] ^= draw(st.integers(1, 255))
        return written(bytes(data))
    if kind == 1:
        return written(bytes(data[:at]))
    if kind == 2:
        return written(bytes(data) + draw(st.binary(min_size=1, max_size=40)))
    if kind == 3:  # payload of one, signature of another
        return written(bytes(data[:-16]) + strange[-16:])
    if kind == 4:  # the head of another
        return written(strange[:3] + bytes(data[3:]))
    if kind == 5:  # other spellings of the same bytes
        change = draw(
            st.sampled_from(["=", "\n", " ", "%3D", "\0", "\u200b", "\uff21", "/", "+", "."])
        )
        place = draw(st.integers(0, len(token)))
        return token[:place] + change + token[place:]
    if kind == 6:
        return token.translate({ord("-"): "+", ord("_"): "/"}) + "="
    if kind == 7:  # a key of nobody's
        return draw(st.sampled_from(FOREIGN))
    if kind == 8:
        return draw(st.text(max_size=200))
    return token.swapcase()


@fuzzed
@given(forged())
def test_no_forged_token_is_read(token: str) -> None:
    for read in READERS:
        if token in VALID:
            continue
        with pytest.raises(BadTokenError):
            read(token)


@pytest.mark.parametrize("token", VALID)
def test_a_token_is_good_for_one_purpose(token: str) -> None:
    good = 0
    for read in READERS:
        try:
            read(token)
        except BadTokenError:
            continue
        good += 1
    assert good == 2  # by itself, and among the workspaces'
