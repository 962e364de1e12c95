"""Defines what is sent: the invented mailers' newsletters and transactional streams."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape, unescape
from pathlib import Path
from string import Template
from zlib import crc32

from app.demo.audience import Reader

_FOLDER = Path(__file__).parent / "mails"
_LINK = re.compile(r'data-track-name="([^"]*)"\s+data-track-tag="([^"]*)"')

SHOP, DISPATCH, PARCELS, MAPS = "Larch & Loam", "The Field Dispatch", "Postilion", "Kestrel Maps"


@dataclass(frozen=True)
class Mailing:
    """An issue of a newsletter, or a transactional stream if `share` (of such mail) is not 0.

    `pull` multiplies readers' probability of an open; `fans` are the groups of most subscribers.
    """

    id: str
    name: str
    subject: str
    tags: tuple[str, ...]
    file: str
    fields: Mapping[str, str] = field(default_factory=dict)
    pull: float = 1.0
    share: float = 0.0
    fans: Collection[str] = ()

    @cached_property
    def _template(self) -> Template:
        escaped = {name: escape(value) for name, value in self.fields.items()}
        source = (_FOLDER / self.file).read_text(encoding="utf-8")
        return Template(Template(source).safe_substitute(escaped))

    @cached_property
    def topics(self) -> Mapping[str, Sequence[str]]:
        """Returns topics by link label, as the data-track attributes have them."""
        links = _LINK.findall(self._template.template)
        return {unescape(name): tags.split() for name, tags in links}

    def html(self, reader: Reader) -> str:
        """Returns the mail as the mailer passes it to the rewriter."""
        number = crc32(f"{self.id} {reader.address}".encode())
        return self._template.substitute(
            name=escape(reader.name),
            order=f"LL-{number % 1_000_000:06}",
            parcel=f"PO{number:010}",
            code=f"SPRING-{number % 65_536:04X}",
            secret=f"{number:08x}",
        )

    def edition(self, number: int) -> "Mailing":
        """Returns the same mailing, from number 2 on under a name of its own."""
        if number == 1:
            return self
        return replace(self, id=f"{self.id}-{number}", name=f"{self.name}, edition {number}")


def _launch(slug: str, name: str, topic: str, subject: str, **fields: str) -> Mailing:
    named = {"slug": slug, "product": name, "topic": topic, "kicker": "New this season", **fields}
    tags = ("newsletter", "launch", SHOP, topic)
    fans = {"boots": "hikers", "tents": "campers"}[topic]
    return Mailing(
        f"launch-{slug.rpartition('/')[2]}",
        f"Launch: {name}",
        subject,
        tags,
        "launch.html",
        named,
        1.05,
        fans=(fans, "silent readers"),
    )


def _digest(number: int, cover: str, slug: str, **fields: str) -> Mailing:
    tags = ("newsletter", "digest", DISPATCH)
    named = {"number": str(number), "cover": cover, "slug": slug, **fields}
    return Mailing(
        f"dispatch-{number}",
        f"{DISPATCH}, no. {number}",
        cover,
        tags,
        "digest.html",
        named,
        1.2,
        fans=("armchair explorers", "silent readers", "runners"),
    )


NEWSLETTERS: Sequence[Mailing] = (
    _launch(
        "boots/ridgeline-mid",
        "Ridgeline Mid",
        "boots",
        "A boot that forgives wet feet",
        headline="A boot that forgives wet feet",
        lead="we spent three winters on one question: how fast can a boot dry while you walk?",
        first_fact="Dry in two hours",
        first_why="Felted wool lining that moves water outwards.",
        second_fact="610 grams",
        second_why="A full ankle, and lighter than most trail shoes.",
        price="€179",
    ),
    Mailing(
        "spring-sale",
        "Spring sale",
        "30 % off what the winter left",
        ("newsletter", "sale", SHOP),
        "sale.html",
        {
            "headline": "Spring sale",
            "kicker": "Spring sale",
            "percent": "30",
            "lead": "Everything that winter left on our shelves.",
        },
        fans=("bargain hunters", "runners"),
    ),
    _digest(
        47,
        "The last hut keeper",
        "last-hut-keeper",
        opening="The snow line went up by 200 metres this week, and so did we.",
        teaser="For 31 years she has carried the bread up herself. This autumn is her last.",
        alt="A stone hut with one lit window",
    ),
    _launch(
        "tents/nightjar-2",
        "Nightjar 2",
        "tents",
        "Two people, one kilo, no condensation",
        headline="Two people. One kilo. No drip at dawn.",
        lead="the Nightjar breathes at both ends, so that the morning stays outside.",
        first_fact="1,040 grams",
        first_why="Pegs, cords and bag included, on our own scales.",
        second_fact="Up in 3 minutes",
        second_why="One pole, two clips, and no instructions.",
        price="€449",
    ),
    _digest(
        48,
        "Across the bog by plank",
        "bog-by-plank",
        opening="Forty kilometres of planks, three of us, and one dry pair of socks.",
        teaser="Nobody knows who lays the planks. We walked until we met him.",
        alt="A row of planks leads into fog",
    ),
    Mailing(
        "spring-sale-last-call",
        "Spring sale: last call",
        "Ends at midnight: now 40 % off",
        ("newsletter", "sale", SHOP),
        "sale.html",
        {
            "headline": "Last call",
            "kicker": "Until midnight",
            "percent": "40",
            "lead": "What is left is yours, and then it is gone.",
        },
        pull=0.85,
        fans=("bargain hunters",),
    ),
)

TRANSACTIONAL: Sequence[Mailing] = (
    Mailing(
        "order-receipt",
        "Order receipt",
        "Thank you for your order",
        ("transactional", "orders", SHOP),
        "receipt.html",
        pull=1.7,
        share=35,
    ),
    Mailing(
        "parcel-shipped",
        "Parcel shipped",
        "Your parcel comes tomorrow",
        ("transactional", "delivery", PARCELS),
        "parcel.html",
        pull=2.0,
        share=30,
    ),
    Mailing(
        "abandoned-cart",
        "Abandoned cart",
        "We kept your basket warm",
        ("automation", "cart", SHOP),
        "cart.html",
        pull=1.1,
        share=22,
    ),
    Mailing(
        "password-reset",
        "Password reset",
        "Choose a new password",
        ("transactional", "account", MAPS),
        "reset.html",
        pull=2.2,
        share=13,
    ),
)
