"""Labels and URLs that let a reader unsubscribe, and near misses that must be tracked."""

# ruff: noqa: RUF001

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rewriting import unsubscribe_links
from app.rewriting.html import Options, compile_html
from app.rewriting.unsubscribe_links import PHRASES, is_unsubscribe
from tests.support.paths import ROOT

URL = "https://x.example/n/12"

# As footers of newsletters say it, written down apart from the table.
LABELS: dict[str, tuple[str, ...]] = {
    "en": (
        "Unsubscribe",
        "Click here to unsubscribe",
        "Opt-out",
        "Opt out of these emails",
        "Remove me",
        "Remove",
        "unsubscribe from this list.",
        "Cancel your subscription",
        "Click here to be removed",
        "UNSUBSCRIBE »",
    ),
    "af": ("Teken uit",),
    "ar": ("إلغاء الاشتراك", "الغاء الاشتراك", "لإلغاء الاشتراك اضغط هنا"),
    "az": ("Abunəlikdən çıxmaq",),
    "be": ("Адпісацца ад рассылкі",),
    "bg": ("Отписване", "Отпишете се"),
    "bn": ("সদস্যতা বাতিল করুন",),
    "ca": ("Donar-se de baixa", "Cancel·lar la subscripció"),
    "cs": ("Odhlásit odběr", "Odhlásit se z odběru", "Zrušit odběr novinek", "ODHLÁSIT ODBĚR"),
    "cy": ("Dad-danysgrifio",),
    "da": ("Afmeld nyhedsbrev", "Frameld dig her"),
    "de": (
        "Abmelden",
        "Newsletter abbestellen",
        "Hier abmelden",
        "Vom Newsletter abmelden",
        "Abbestellen",
        "Melden Sie sich hier ab",
        "ABBESTELLEN",
        "Austragen",
    ),
    "el": ("Απεγγραφή", "Διαγραφή από τη λίστα", "ΑΠΕΓΓΡΑΦΗ", "Κατάργηση εγγραφής"),
    "eo": ("Malaboni",),
    "es": (
        "Darse de baja",
        "Cancelar suscripción",
        "Cancelar la suscripción",
        "Date de baja",
        "Darme de baja",
        "Desuscribirse",
        "Anular suscripcion",
    ),
    "et": ("Loobu uudiskirjast", "Tühista tellimus"),
    "eu": ("Harpidetza kendu", "Eman baja"),
    "fa": ("لغو اشتراک", "لغو عضویت"),
    "fi": ("Peruuta tilaus", "Peruuta uutiskirje", "Poistu postituslistalta"),
    "fil": ("Mag-unsubscribe",),
    "fr": (
        "Se désabonner",
        "Se désinscrire",
        "Désinscription",
        "Me désabonner",
        "Désabonnement",
        "Cliquez ici pour vous désinscrire",
        "SE DESABONNER",
        "Ne plus recevoir nos e-mails",
    ),
    "ga": ("Díliostáil",),
    "gl": ("Cancelar a subscrición",),
    "gu": ("અનસબ્સ્ક્રાઇબ કરો",),
    "he": ("הסר", "להסרה מרשימת התפוצה", "ביטול הרשמה", "הסר אותי"),
    "hi": ("सदस्यता समाप्त करें", "अनसब्सक्राइब करें"),
    "hr": ("Odjavi se", "Odjava s newslettera"),
    "hu": ("Leiratkozás", "Leiratkozom", "Leiratkozás a hírlevélről", "Iratkozzon le"),
    "hy": ("Ապաբաժանորդագրվել",),
    "id": ("Berhenti berlangganan", "Batalkan langganan"),
    "is": ("Afskrá mig", "Afskráning"),
    "it": (
        "Disiscriviti",
        "Annulla iscrizione",
        "Annulla l'iscrizione",
        "Annulla l’iscrizione",
        "Cancellati",
        "Cancella l'iscrizione",
        "Disiscrizione",
    ),
    "ja": (
        "配信停止",
        "配信停止はこちら",
        "登録解除",
        "メルマガの登録解除",
        "購読解除",
        "配信を停止する",
        "退会",
    ),
    "ka": ("გამოწერის გაუქმება",),
    "kk": ("Жазылымнан бас тарту",),
    "ko": ("구독 취소", "구독취소", "수신거부", "수신 거부", "구독 해지"),
    "lo": ("ຍົກເລີກການສະໝັກ",),
    "lt": ("Atsisakyti prenumeratos", "Atsisakyti naujienlaiškio"),
    "lv": ("Atrakstīties", "Atteikties no jaunumiem"),
    "mk": ("Одјави се",),
    "ms": ("Nyahlanggan", "Berhenti melanggan"),
    "mt": ("Neħħi l-abbonament",),
    "nl": (
        "Uitschrijven",
        "Afmelden",
        "Schrijf je uit",
        "Meld u af",
        "Uitschrijven van de nieuwsbrief",
    ),
    "no": ("Meld deg av", "Avslutt abonnementet", "Avmelding"),
    "pa": ("ਗਾਹਕੀ ਰੱਦ ਕਰੋ",),
    "pl": (
        "Wypisz się",
        "Zrezygnuj z subskrypcji",
        "Anuluj subskrypcję",
        "Rezygnuję z newslettera",
    ),
    "pt": (
        "Cancelar inscrição",
        "Cancelar a inscrição",
        "Descadastrar",
        "Cancelar assinatura",
        "Anular subscrição",
        "Descadastre-se",
        "Cancele sua inscrição",
    ),
    "ro": ("Dezabonare", "Dezabonează-te", "Dezaboneaza-te"),
    "ru": (
        "Отписаться",
        "Отписаться от рассылки",
        "Отписка",
        "ОТПИСАТЬСЯ",
        "Отказаться от рассылки",
    ),
    "sk": ("Odhlásiť sa", "Zrušiť odber", "Odhlásenie z odberu"),
    "sl": ("Odjava", "Odjavite se"),
    "sq": ("Çregjistrohu", "Çabonohu"),
    "sr": ("Одјави се", "Одјава"),
    "sv": ("Avregistrera", "Avsluta prenumeration", "Avprenumerera", "Avregistrera dig här"),
    "sw": ("Jiondoe",),
    "ta": ("குழுவிலகு",),
    "te": ("సభ్యత్వాన్ని రద్దు చేయండి",),
    "th": ("ยกเลิกการสมัคร", "ยกเลิกการรับข่าวสาร"),
    "tr": (
        "Abonelikten çık",
        "ABONELİKTEN ÇIK",
        "Aboneliği iptal et",
        "Listeden çıkmak için tıklayın",
    ),
    "uk": ("Відписатися", "Відписатись від розсилки", "Скасувати підписку"),
    "ur": ("ان سبسکرائب",),
    "uz": ("Obunani bekor qilish",),
    "vi": ("Hủy đăng ký", "Huỷ đăng ký", "Ngừng nhận email"),
    "zh-hans": ("取消订阅", "退订", "点击退订", "取消订阅此邮件"),
    "zh-hant": ("取消訂閱", "退訂", "取消電子報"),
}
NEAR_MISSES = (
    "Subscribe",
    "Sign up",
    "Opt in",
    "Cancel your order",
    "Manage preferences",
    "View in browser",
    "Leave a review",
    "Stop by our store",
    "Take me home",
    "Options",
    "Adopt outdoor cats",
    "Remove background",
    "Remove it from your wish list",
    "Items to be removed soon",
    "Stop unwanted messages with our app",
    "Bewegen",
    "Unbelievable offers",
    "Submarine",
    "Anmelden",
    "Jetzt anmelden",
    "Bestellen",
    "Melden Sie sich ab sofort an",
    "Konto kündigen",
    "S'abonner",
    "S'inscrire",
    "Inscription",
    "Suscribirse",
    "Suscríbete",
    "Baja California",
    "Cancelar pedido",
    "Iscriviti",
    "Ordini cancellati",
    "Annulla l'ordine",
    "Assinar",
    "Inscreva-se",
    "Schrijf je in",
    "Aanmelden",
    "Uitgelicht",
    "Tilmeld",
    "Prenumerera",
    "Registrera",
    "Meld deg på",
    "Tilaa uutiskirje",
    "Zapisz się",
    "Nie rezygnuj z zakupów",
    "Přihlásit odběr",
    "Prihlásiť sa",
    "Feliratkozás",
    "Iratkozzon fel",
    "Abonează-te",
    "Абонирай се",
    "Подписаться",
    "Оплатить",
    "Отказаться от страховки",
    "Підписатися",
    "Prijava",
    "Prijavi se",
    "Abone ol",
    "Siparişi iptal et",
    "Εγγραφή",
    "Διαγραφή λογαριασμού",
    "הרשמה",
    "הסר מהסל",
    "اشترك",
    "الاشتراك",
    "إلغاء الطلب",
    "सदस्यता लें",
    "订阅",
    "取消订单",
    "解除",
    "訂閱",
    "登録",
    "新規登録",
    "購読する",
    "配信",
    "구독",
    "구독하기",
    "주문 취소",
    "สมัครสมาชิก",
    "Đăng ký",
    "Hủy đơn hàng",
    "Berlangganan",
    "Loobumatu",
)


def labels() -> list[str]:
    return [label for every in LABELS.values() for label in every]


def test_the_table_speaks_as_many_languages_as_the_docs_say() -> None:
    assert len(PHRASES) > 70
    assert len(labels()) >= 120
    assert set(LABELS) <= set(PHRASES)
    docs = (ROOT / "docs" / "rewriting.md").read_text()
    assert "in more than 70 languages" in " ".join(docs.split())


@pytest.mark.parametrize("label", labels())
def test_a_label_in_any_language_and_any_form_is_known(label: str) -> None:
    for form in ("NFC", "NFD", "NFKC"):
        for written in (label, label.upper(), f"» {label} «", f"{label}."):
            assert is_unsubscribe(URL, unicodedata.normalize(form, written)), (form, written)


@pytest.mark.parametrize("label", NEAR_MISSES)
def test_a_near_miss_is_tracked(label: str) -> None:
    assert not is_unsubscribe(URL, label)
    assert not is_unsubscribe(URL, label.upper())


def test_every_phrase_of_the_table_is_found_where_it_stands() -> None:
    for language, phrases in PHRASES.items():
        for phrase in phrases:
            label = phrase.replace("*", "").replace("~ ", "").rstrip("!")
            assert is_unsubscribe(URL, label), (language, phrase)
            if not phrase.endswith("!"):
                assert is_unsubscribe(URL, f"(1) {label} (2)"), (language, phrase)


@pytest.mark.parametrize(
    "path",
    [
        "unsubscribe?u=1",
        "list/unsub/12",
        "?action=unsub",
        "optout",
        "opt-out.php",
        "OPT_OUT",
        "abmelden",
        "newsletter/abmeldung",
        "newsletter/abbestellen",
        "desinscription",
        "se-desabonner",
        "d%C3%A9sinscription",
        "désinscription",
        "darse-de-baja",
        "cancelar-suscripcion",
        "descadastrar",
        "uitschrijven",
        "afmelden",
        "avregistrera",
        "leiratkozas",
        "leiratkoz%C3%A1s",
        "odhlasit-odber",
        "wypisz-sie",
        "dezabonare",
        "disiscrizione",
        "annulla-iscrizione",
        "atsisakyti",
        "remove-me",
        "removeme.html",
    ],
)
def test_words_in_urls(path: str) -> None:
    assert is_unsubscribe(f"https://x.example/{path}")
    assert is_unsubscribe("https://x.example/1", f"x.example/{path}")


@pytest.mark.parametrize(
    "path",
    [
        "adopt-outdoor-cats",
        "sunsub",
        "unsubtle",
        "remove-mediation",
        "subscribe",
        "options",
        "bestellen",
    ],
)
def test_near_misses_in_urls(path: str) -> None:
    assert not is_unsubscribe(f"https://x.example/{path}")


def test_a_long_text_about_unsubscribing_is_an_article() -> None:
    assert not is_unsubscribe(URL, "Why readers unsubscribe, and what to do about it: a study " * 2)


@given(st.text(max_size=20), st.sampled_from(labels()), st.text(max_size=20))
def test_other_words_around_a_label_hide_it_only_by_their_length(
    before: str, label: str, after: str
) -> None:
    # What means something else with other words around it.
    alone = {"Remove", "Cancellati", "\u05d4\u05e1\u05e8", "Melden Sie sich hier ab"}
    text = f"{before} {label} {after}"
    if len(text) <= unsubscribe_links.MAX_LABEL_CHARS and label not in alone:
        assert is_unsubscribe(URL, text)


def test_the_links_of_a_mail() -> None:
    html = "".join(f'<a href="{URL}">{label}</a>' for label in (*labels(), *NEAR_MISSES))
    links = compile_html(
        html.encode(), Options(), lambda _: "L", "https://t.example", "utf-8"
    ).links
    untracked = [link.label for link in links if link.reason == "unsubscribe"]
    assert untracked == labels()
    assert sum(link.tracked for link in links) == len(NEAR_MISSES)


def test_what_a_label_costs_does_not_grow_with_the_table() -> None:
    """A word is looked up by its first letters; few phrases share them."""
    patterns = unsubscribe_links._SPACED_PATTERNS.values()
    assert max(pattern.pattern.count("|") for pattern in patterns) < 30
