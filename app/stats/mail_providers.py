"""The mail providers of recipients, by the domains of their email addresses.

A fall of deliveries or opens at one provider is the first sign of a delivery problem. Only domains
that a provider gives to everybody are listed; domains of companies are shown as they are, since who
receives their mail would have to be looked up in the DNS.
"""

from collections.abc import Mapping, Sequence

PROVIDERS: Mapping[str, Sequence[str]] = {
    "Gmail": ("gmail.com", "googlemail.com"),
    "Outlook": (
        *(f"outlook.{end}" for end in ("com", "de", "fr", "es", "it", "jp", "dk", "com.br")),
        *(
            f"hotmail.{end}"
            for end in ("com", "co.uk", "de", "fr", "es", "it", "nl", "be", "se", "ca", "com.br")
        ),
        *(
            f"live.{end}"
            for end in ("com", "co.uk", "de", "fr", "it", "nl", "be", "se", "dk", "ca", "com.au")
        ),
        "msn.com",
        "passport.com",
        "windowslive.com",
    ),
    "Yahoo": (
        *(
            f"yahoo.{end}"
            for end in (
                "com",
                "co.uk",
                "co.in",
                "de",
                "fr",
                "es",
                "it",
                "ie",
                "in",
                "ca",
                "com.ar",
                "com.au",
                "com.br",
                "com.mx",
                "com.sg",
                "com.vn",
                "co.id",
                "gr",
                "pl",
                "ro",
                "se",
            )
        ),
        "myyahoo.com",
        "rocketmail.com",
        "ymail.com",
    ),
    "Yahoo Japan": ("yahoo.co.jp", "ybb.ne.jp"),
    "AOL": ("aol.com", "aol.co.uk", "aol.de", "aol.fr", "aim.com", "verizon.net"),
    "iCloud": ("icloud.com", "me.com", "mac.com"),
    "GMX": ("gmx.de", "gmx.net", "gmx.at", "gmx.ch", "gmx.com", "gmx.org", "gmx.info", "gmx.eu"),
    "WEB.DE": ("web.de", "email.de"),
    "T-Online": ("t-online.de", "magenta.de"),
    "freenet": ("freenet.de",),
    "Bluewin": ("bluewin.ch",),
    "Orange": ("orange.fr", "wanadoo.fr"),
    "Free": ("free.fr",),
    "SFR": ("sfr.fr", "neuf.fr"),
    "La Poste": ("laposte.net",),
    "Libero": ("libero.it", "inwind.it", "iol.it", "blu.it"),
    "BT": ("btinternet.com",),
    "Sky": ("sky.com",),
    "Virgin Media": ("virginmedia.com", "ntlworld.com", "blueyonder.co.uk"),
    "Comcast": ("comcast.net",),
    "AT&T": ("att.net", "sbcglobal.net", "bellsouth.net", "pacbell.net", "ameritech.net"),
    "Cox": ("cox.net",),
    "Spectrum": ("charter.net", "roadrunner.com", "rr.com"),
    "Proton": ("proton.me", "protonmail.com", "protonmail.ch", "pm.me"),
    "Fastmail": ("fastmail.com", "fastmail.fm"),
    "Zoho": ("zoho.com", "zohomail.com", "zohomail.eu"),
    "mailbox.org": ("mailbox.org",),
    "Posteo": ("posteo.de", "posteo.net"),
    "Seznam": ("seznam.cz", "email.cz"),
    "WP": ("wp.pl",),
    "Onet": ("onet.pl", "op.pl", "vp.pl", "poczta.onet.pl"),
    "Interia": ("interia.pl", "interia.eu"),
    "Mail.ru": ("mail.ru", "bk.ru", "inbox.ru", "list.ru", "internet.ru"),
    "Yandex": ("yandex.ru", "yandex.com", "ya.ru"),
    "Rambler": ("rambler.ru",),
    "UKR.NET": ("ukr.net",),
    "Telenet": ("telenet.be",),
    "Ziggo": ("ziggo.nl",),
    "KPN": ("kpnmail.nl", "planet.nl", "hetnet.nl", "xs4all.nl"),
    "Docomo": ("docomo.ne.jp",),
    "au": ("au.com", "ezweb.ne.jp"),
    "SoftBank": ("softbank.ne.jp", "i.softbank.jp"),
    "Naver": ("naver.com",),
    "Daum": ("daum.net", "hanmail.net", "kakao.com"),
    "QQ Mail": ("qq.com", "foxmail.com"),
    "NetEase": ("163.com", "126.com", "yeah.net"),
    "Sina": ("sina.com", "sina.cn"),
    "Rediffmail": ("rediffmail.com",),
    "UOL": ("uol.com.br", "bol.com.br"),
    "Terra": ("terra.com.br",),
    "Bigpond": ("bigpond.com", "bigpond.net.au"),
    "Optus": ("optusnet.com.au",),
    "Xtra": ("xtra.co.nz",),
}
_NAMES = {domain: name for name, domains in PROVIDERS.items() for domain in domains}
DOMAINS, NAMES = list(_NAMES), list(_NAMES.values())  # as ClickHouse's transform() takes them
EVERYTHING_ELSE = "other"  # than the largest providers
NOT_STORED = ""  # the email address is not known any more, or the recipient has none
MAX_PROVIDERS = 20  # shown; all others are one row


def provider_of(domain: str) -> str:
    """Returns the provider of a domain: its name, or the domain itself."""
    return _NAMES.get(domain.lower(), domain.lower())
