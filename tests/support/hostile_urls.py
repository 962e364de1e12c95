"""Addresses that attackers and broken templates put into mail, and documents that hold them."""

import random
from collections.abc import Iterator

HOSTILE = (
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "java&Tab;script:x",
    "&#106;avascript:alert(1)", "javascript&colon;alert(1)", "\x01javascript:alert(1)",
    "javascript://good.example/%0aalert(1)", "data:text/html,<script>alert(1)</script>",
    "vbscript:x", "file:///etc/passwd", "ftp://evil.example/", "view-source:http://x.example",
    "//evil.example", "\\\\evil.example", "/\\evil.example", "\\/evil.example", "///evil.example",
    "/%09/evil.example", "/\t/evil.example", "http:evil.example", "http:/evil.example",
    "http:\\\\evil.example", "http:/\\evil.example", "http:///evil.example", "https:evil.example",
    "https:/evil.example", "https:\\\\evil.example", "https:\t//evil.example", "ht\ntp://x.example",
    "http://good.example@evil.example/", "http://good.example:80@evil.example/",
    "http://good.example\\@evil.example/", "http://good.example#@evil.example/",
    "http://good.example?@evil.example/", "http://good.example%40evil.example/",
    "http://good.example\uff20evil.example/", "http://good.example\uff0fevil.example/",
    "http://good.example\u2044evil.example/", "http://good.example\u3002evil.example/",
    "http://good.example&commat;evil.example/", "http://good.example&sol;.evil.example/",
    "http://good.example&bsol;.evil.example/", "http://a@b@evil.example/", "http://@/",
    "http://good.example/\r\nSet-Cookie: a=b", "http://good.example/&#13;&#10;Location: http://e/",
    "http://good.example/%0d%0aSet-Cookie:%20a=b", "http://good.example/\x00", "http://\x00/",
    "http://good.example%00.evil.example/", "http://good.example\x00.evil.example/",
    "http://good.example/\u560d\u560aSet-Cookie:a=b", "http://good.example/\x0b\x0c\x1c\x85\u2028",
    "http://good.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", "http://good.example/\x7f",
    "http://go\u00adod.example/", "http://go\u200bod.example/", "http://g\u043e\u043ed.example/",
    "http://\u0440\u0430\u0443\u0440\u0430l.example/", "http://b\u00fccher.example/",
    "http://xn--bcher-kva.example/", "http://xn--a\u00fc.example/", "http://\uff47ood.example/",
    "http://\u202egood.example/", "http://good.example/\u202egpj.exe", "http://%E2%98%83.example/",
    "http://ex%61mple.example/", "http://%ff.example/", "http://%2e%2e/", "http://./", "http://../",
    "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[fe80::1%25eth0]/", "http://[::1]:80/",
    "http://[fe80::1%eth0]/", "http://[::1/", "http://[evil.example]/", "http://0x7f.1/",
    "http://2130706433/", "http://0177.1/", "http://127.1/", "http://1.2.3.4.5/", "http://256.1.1.1",
    "http://good.example:80/", "http://good.example:/", "http://good.example:0/",
    "http://good.example:65535/", "http://good.example:65536/", "http://good.example:8 0/",
    "http://good.example:-1/", "http://good.example:80:81/", "http://good.example:\uff18\uff10/",
    "HTTP://GOOD.EXAMPLE/", "hTtPs://good.example", " http://good.example/ ", "http:// x.example/",
    "http://good.example/a b", "http://good.example/a\tb\nc", "http://good .example/", "http://",
    "http:///", "http://?x", "http://#x", "http:", "https:?a", "https:#a", "?", "#", "", " ", "\t",
    "http://good.example/" + "a" * 1900, "http://good.example/" + "a" * 4000,
    "http://" + "a" * 1200 + ".example/", "http://good.example/?" + "&" * 500, "http://x" + "." * 9,
    "http://good.example/<script>alert(1)</script>", "http://good.example/&quot;onclick=alert(1)",
    "http://good.example/'\"`{}|^<>", "http://a<b.example/", "http://a|b.example/", "http://a^b/",
    "https://base.example\\@evil.example/", "http://x.example/..%2f..//..\\..", "https://x.example\\",
    "a/../../b", "..", ".", "./..//", "/", "/a//b", "?a=1", "#f", "a:b", "1:b", "a?b#c", "\ud800",
)  # fmt: skip

_PIECES = (
    "javascript:", "data:", "http:", "https:", "HTTP:", "hTTpS:", "http", "//", "/", "\\", "\\\\",
    "///", "@", "good.example", "evil.example", "user:pa@", ":80", ":0", ":99999", ":", "?a", "#f",
    "?", "#", "\t", "\r\n", " ", "\0", "\x01", "\x7f", "\x85", "\xa0", "%00", "%0d", "%2f", "%5c",
    "%40", "%2e", "..", ".", "\u00fc", "b\u00fccher.example", "\ufb00.example", "\u3002", "\uff0e",
    "\uff0f", "\uff20", "\u200b", "\u00ad", "\u2028", "[::1]", "[fe80::1%eth0]", "0x7f.1", "127.1",
    "1.2.3.4.5", "xn--a.example", "ex%61mple.com", "%E2%98%83.example", "a,b", "a'b", 'a"b', "a|b",
    "a<b", ">", "&amp;", "&Tab;", "&NewLine;", "&colon;", "&#106;", "&#0;", "&sol;", "&bsol;",
    "&commat;", "x" * 300, "\u202e", "\uff10x7f.1", "&#xD800;", "&#x80;",
)  # fmt: skip
_STARTS = ("http:", "https:", "http://", "https://", "http:/", "http:\\\\", "http:/\\")


def made_up(count: int, seed: int = 1) -> Iterator[str]:
    """The same each time: most begin like an address."""
    rng = random.Random(seed)
    for _ in range(count):
        start = rng.choice(_STARTS) if rng.random() < 0.6 else ""
        yield start + "".join(rng.choices(_PIECES, k=rng.randint(1, 6)))


def document(hrefs: tuple[str, ...], base: str = "") -> bytes:
    """A mail with a link for each; what UTF-8 cannot hold is a question mark."""
    links = [f'<p><a href="{href.replace(chr(34), "&quot;")}">x</a></p>' for href in hrefs]
    head = f'<base href="{base}">' if base else ""
    return f"<!doctype html><html><head>{head}</head><body>{''.join(links)}</body></html>".encode(
        "utf-8", "replace"
    )
