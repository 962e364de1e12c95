"""Generates hostile mail for hypothesis: HTML, and whole messages that contain it."""

import base64
import quopri
from collections.abc import Callable

from hypothesis import strategies as st

from tests.support.hostile_urls import HOSTILE

Bytes = st.SearchStrategy[bytes]


def _one(*pieces: bytes) -> Bytes:
    return st.sampled_from(pieces)


def _joined(*parts: Bytes) -> Bytes:
    return st.tuples(*parts).map(b"".join)


def _several(part: Bytes, most: int) -> Bytes:
    return st.lists(part, max_size=most).map(b"".join)


SPACE = _one(b"", b" ", b"\t", b"\r\n", b"\f", b"/", b" \n ", b"\0", b"\x0b", b"\xa0")
# Texts in several charsets at once, half characters, shifts, byte order marks and lone surrogates.
WORD = _one(
    b"x",
    b"Gr\xc3\xbc\xc3\x9fe",
    b"\xfc",
    b"\x83\x5c",
    b"\x1b$B<a\x1b(B",
    b"\xff\xfe<\0a\0",
    b"\0",
    b"\xed\xa0\x80",
    b"+ADw-",
    b"~{<a~}",
    b"\xef\xbb\xbf",
    b"&lt;a href=x&gt;",
    b"]]>",
    b"--",
    b"{{x}}",
    b"%00",
    b"\xf0\x9f\xa5\xbe",
    b"unsubscribe",
    b"\r",
    b"\n.\r\n",
    b"From x\n",
    b"<",
    b">",
    b"=",
    b"",
)
HREF = st.one_of(
    st.sampled_from([href.encode("utf-8", "surrogatepass") for href in HOSTILE]),
    _joined(
        _one(b"http://", b"https:", b"//", b""), WORD, _one(b".example/", b"@", b":80", b"?"), WORD
    ),
)
VALUE = st.one_of(
    _joined(_one(b"=", b" = ", b"=\n"), _one(b'"', b"'", b""), HREF, _one(b'"', b"'", b"", b'"')),
    _one(b"", b"=", b"=off", b'=""', b"='"),
)
NAME = _one(
    b"href",
    b"HREF",
    b"hr\0ef",
    b"data-track",
    b"ses:no-track",
    b"data-track-name",
    b"alt",
    b"title",
    b"data-track-tag",
    b"{{ .Attr }}",
    b'"',
    b"'",
    b"=",
    b"<",
    b"clicktracking",
    b"style",
    b"x",
)
TAG = _joined(
    _one(b"<", b"</", b"< ", b"<!", b"<?"),
    _one(
        b"a",
        b"A",
        b"area",
        b"v:rect",
        b"base",
        b"body",
        b"html",
        b"img",
        b"p",
        b"title",
        b"style",
        b"script",
        b"textarea",
        b"plaintext",
        b"svg",
        b"math",
        b"noscript",
        b"xmp",
        b"a\0",
        b"",
    ),
    _several(_joined(SPACE, NAME, VALUE), 4),
    SPACE,
    _one(b">", b"/>", b"", b">>"),
)
COMMENT = _joined(
    _one(
        b"<!--",
        b"<!-- [if mso]>",
        b"<!--[if gte mso 9]>",
        b"<![if !mso]>",
        b"<!--[if ",
        b"<![CDATA[",
        b"<!--[if !mso]><!-->",
        b"<!-->",
        b"<!--->",
    ),
    _several(st.one_of(WORD, TAG), 3),
    _one(b"-->", b"--!>", b"<![endif]-->", b"<![endif]>", b"<!--<![endif]-->", b"]]>", b"", b"--"),
)
HTML = _several(st.one_of(WORD, TAG, COMMENT), 14)
CHARSET = st.sampled_from(
    [
        None,
        "utf-8",
        "windows-1252",
        "shift_jis",
        "big5",
        "gb18030",
        "iso-2022-jp",
        "utf-16",
        "utf-7",
        "hz-gb-2312",
        "x-none",
        "",
        '"',
        "utf-8\n",
        "cp037",
        "idna",
        "a" * 300,
    ]
)

END = _one(b"\r\n", b"\n", b"\r", b"\r\n ", b"")
ENCODING: dict[bytes, Callable[[bytes], bytes]] = {
    b"7bit": bytes,
    b"8bit": bytes,
    b"base64": base64.encodebytes,
    b"quoted-printable": quopri.encodestring,
    b"BASE64 ": lambda body: base64.b64encode(body) + b"=",
    b"uuencode": bytes,
    b"base64\r\n\t": bytes,  # declared but not true
    b"Quoted-Printable": bytes,
}
FIELD = _joined(
    _one(
        b"Subject",
        b"X-Mailwake-Newsletter",
        b"x-mailwake-Tags",
        b"Content-Disposition",
        b"\xfc",
        b"",
        b"Content-Type",
        b"Content-Transfer-Encoding",
        b"MIME-Version",
        b" ",
        b"From ",
    ),
    _one(b": ", b":", b" : ", b"\t:", b""),
    _one(
        b"x",
        b"=?utf-8?q?=C3=BC?=",
        b"=?utf-8?b?!?=",
        b"=?x?q?y?=",
        b"attachment",
        b"text/html",
        b"",
        b"text/html; charset*0*=a'b'%ff",
        b'multipart/mixed; boundary="b"',
        b"a\r\n b\r\n\tc",
        b"\0",
        b'text/html; charset="\xfc',
        b"multipart/signed; boundary=b",
        b"message/rfc822",
    ),
    END,
)


def _leaf(kind: bytes, encoding: bytes, body: bytes, fields: bytes, end: bytes) -> bytes:
    head = b"Content-Type: " + kind + b"\r\nContent-Transfer-Encoding: " + encoding + b"\r\n"
    return head + fields + end + b"\r\n" + ENCODING[encoding](body)


LEAF = st.builds(
    _leaf,
    _one(
        b"text/html",
        b"text/html; charset=utf-8",
        b"text/plain",
        b"text/html; charset=utf-16",
        b"text/html; charset=x",
        b"application/pdf",
        b"TEXT/HTML;charset=iso-2022-jp",
        b"text/",
        b"",
    ),
    st.sampled_from(list(ENCODING)),
    HTML,
    _several(FIELD, 2),
    END,
)


def _multipart(parts: list[bytes], boundary: bytes, written: bytes, ends: bool) -> bytes:
    head = b"Content-Type: multipart/mixed; boundary=" + written + b"\r\n\r\npreamble\r\n"
    between = b"\r\n--" + boundary
    body = b"".join(between + b"\r\n" + part for part in parts)
    return head + body + (between + b"--\r\nepilogue" if ends else b"")


MESSAGE = _joined(
    _several(FIELD, 3),
    st.recursive(
        LEAF,
        lambda inner: st.builds(
            _multipart,
            st.lists(inner, max_size=3),
            _one(b"b", b"bb", b"b c", b"(.*)", b"-"),
            _one(b"b", b'"b"', b"bb", b'"b c"', b'"(.*)"', b"-", b'"', b"b*0=b", b""),
            st.booleans(),
        ),
        max_leaves=5,
    ),
)
