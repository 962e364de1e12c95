"""Invents the readers: several thousand people with constant habits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from app.demo import agents

# RFC 5737: IP addresses for documentation. People come from two of the networks, machines from one.
HOMES = ("198.51.100", "203.0.113")
DATACENTRES = "192.0.2"

# Each group's weight for a subject, against 1 for subjects that it does not care about, and its
# share.
SEGMENTS: Mapping[str, tuple[int, Mapping[str, float]]] = {
    "hikers": (26, {"boots": 9, "packs": 4, "maps": 3, "socks": 2.5}),
    "campers": (18, {"tents": 9, "cooking": 5, "packs": 2}),
    "runners": (13, {"running": 9, "socks": 3, "jackets": 2}),
    "foul-weather friends": (11, {"jackets": 8, "boots": 3}),
    "bargain hunters": (12, {"sale": 9, "socks": 2}),
    "armchair explorers": (12, {"stories": 9, "maps": 4}),
    "silent readers": (8, {}),
}


@dataclass(frozen=True, slots=True)
class Mailbox:
    """How a kind of mailbox handles mail.

    `apps` show it and `browsers` follow its links, both by share. `proxied` opens come from the
    provider; `private` ones come without the mail being read (Apple).
    """

    domains: tuple[str, ...]
    share: float
    apps: tuple[str, ...]
    browsers: tuple[str, ...]
    proxied: bool = False
    private: bool = False
    scanners: tuple[tuple[str, float], ...] = ()  # in front of the mailbox, by share


# example.com, .net, .org and .example are reserved (RFC 2606): none of these people exists.
MAILBOXES = (
    Mailbox(
        ("gmail.example",),
        34,
        (agents.GMAIL_PROXY,),
        (
            agents.CHROME_PHONE,
            agents.CHROME_PHONE,
            agents.CHROME,
            agents.CHROME_MAC,
            agents.SAFARI_PHONE,
            agents.SAMSUNG_BROWSER,
            agents.CHROME_TABLET,
        ),
        proxied=True,
    ),
    Mailbox(
        ("icloud.example", "example.net"),
        17,
        (agents.APPLE_PRIVACY,),
        (agents.SAFARI_PHONE, agents.SAFARI_PHONE, agents.SAFARI, agents.SAFARI_TABLET),
        private=True,
    ),
    Mailbox(
        ("me.example", "example.org"),
        10,
        (agents.IPHONE_MAIL, agents.IPHONE_MAIL, agents.MAC_MAIL, agents.IPAD_MAIL),
        (agents.SAFARI_PHONE, agents.SAFARI, agents.SAFARI_TABLET),
    ),
    Mailbox(
        ("yahoo.example",),
        8,
        (agents.YAHOO_PROXY,),
        (agents.CHROME, agents.EDGE, agents.CHROME_PHONE),
        proxied=True,
    ),
    Mailbox(
        ("harbour-works.example", "northline.example", "brightmoor.example"),
        13,
        (agents.OUTLOOK, agents.OUTLOOK, agents.OUTLOOK_OFFICE),
        (agents.EDGE, agents.CHROME),
        scanners=(("safe links", 0.5), ("mimecast", 0.15), ("barracuda", 0.2)),
    ),
    Mailbox(
        ("outlook.example",),
        7,
        (agents.OUTLOOK_IOS, agents.OUTLOOK_ANDROID, agents.EDGE),
        (agents.EDGE, agents.SAFARI_PHONE, agents.CHROME_PHONE),
        scanners=(("bing", 0.2),),
    ),
    Mailbox(
        ("posteo.example", "lilt.example"),
        5,
        (agents.THUNDERBIRD, agents.THUNDERBIRD_WINDOWS, agents.FIREFOX),
        (agents.FIREFOX, agents.FIREFOX_LINUX),
    ),
    Mailbox(
        ("webpost.example", "example.com"),
        6,
        (agents.SAMSUNG_MAIL, agents.ANDROID_MAIL, agents.FIREFOX, agents.CHROME_TABLET),
        (agents.SAMSUNG_BROWSER, agents.CHROME_PHONE, agents.FIREFOX),
    ),
)

_FIRST = (
    "Ada",
    "Alma",
    "Amir",
    "Anouk",
    "Arjun",
    "Astrid",
    "Beate",
    "Benoît",
    "Carla",
    "Chidi",
    "Clara",
    "Dario",
    "Elif",
    "Emil",
    "Esther",
    "Farah",
    "Felix",
    "Freya",
    "Greta",
    "Hanna",
    "Hugo",
    "Imani",
    "Ingrid",
    "Ivo",
    "Jonas",
    "Juno",
    "Kaito",
    "Kasia",
    "Lars",
    "Leila",
    "Lena",
    "Linus",
    "Malik",
    "Mara",
    "Mei",
    "Milan",
    "Nadia",
    "Nils",
    "Noor",
    "Olga",
    "Oskar",
    "Paula",
    "Priya",
    "Quinn",
    "Rafael",
    "Rosa",
    "Sami",
    "Selma",
    "Sinéad",
    "Sofia",
    "Sven",
    "Tariq",
    "Thea",
    "Tomas",
    "Una",
    "Viktor",
    "Wanda",
    "Yara",
    "Yusuf",
    "Zoë",
)
_LAST = (
    "Abbott",
    "Adeyemi",
    "Bauer",
    "Berg",
    "Bianchi",
    "Castro",
    "Chen",
    "Dahl",
    "Duarte",
    "Eriksen",
    "Fischer",
    "Fontaine",
    "Garcia",
    "Gruber",
    "Haddad",
    "Hansen",
    "Holm",
    "Ito",
    "Ivanova",
    "Jensen",
    "Kaplan",
    "Keller",
    "Kowalski",
    "Larsen",
    "Lindqvist",
    "Lopez",
    "Marsh",
    "Meyer",
    "Moreau",
    "Nakamura",
    "Nguyen",
    "Novak",
    "O'Brien",
    "Okafor",
    "Olsen",
    "Patel",
    "Petrov",
    "Quist",
    "Rossi",
    "Roth",
    "Sato",
    "Schmid",
    "Silva",
    "Singh",
    "Sorensen",
    "Tanaka",
    "Thorne",
    "Ueda",
    "Vogel",
    "Walsh",
    "Weber",
    "Winter",
    "Wolff",
    "Yilmaz",
)
_ASCII = str.maketrans({"î": "i", "é": "e", "ë": "e", "'": ""})


@dataclass(frozen=True, slots=True)
class Reader:
    """One person: `opens` and `clicks` are probabilities, `interests` weigh subjects against 1."""

    name: str
    address: str
    mailbox: Mailbox
    app: str
    browser: str
    second_browser: str
    home: str
    scanner: str
    opens: float
    clicks: float
    segment: str

    @property
    def interests(self) -> Mapping[str, float]:
        """Returns weights by subject; a missing subject weighs 1."""
        return SEGMENTS[self.segment][1]


def audience(seed: int, size: int = 6000) -> Sequence[Reader]:
    """Returns `size` readers with distinct email addresses, the same for the same seed."""
    rng = Random(f"audience {seed}")  # noqa: S311  (lifelike, not secret)
    return [_reader(rng, number) for number in range(size)]


def _reader(rng: Random, number: int) -> Reader:
    first, last = rng.choice(_FIRST), rng.choice(_LAST)
    (mailbox,) = rng.choices(MAILBOXES, [mailbox.share for mailbox in MAILBOXES])
    (segment,) = rng.choices(list(SEGMENTS), [share for share, _ in SEGMENTS.values()])
    scanner, drawn = "", rng.random()
    for name, share in mailbox.scanners:
        if 0 <= drawn < share:
            scanner = name
        drawn -= share
    silent = not SEGMENTS[segment][1]
    return Reader(
        name=first,
        address=f"{first}.{last}{number}@{rng.choice(mailbox.domains)}".translate(_ASCII).lower(),
        mailbox=mailbox,
        app=rng.choice(mailbox.apps),
        browser=rng.choice(mailbox.browsers),
        second_browser=rng.choice(mailbox.browsers),
        home=f"{rng.choice(HOMES)}.{rng.randint(1, 254)}",
        scanner=scanner,
        opens=rng.betavariate(2.2, 2.6),
        clicks=0.01 if silent else rng.betavariate(1.6, 4),
        segment=segment,
    )
