"""Recognizes links that let the reader unsubscribe, in the languages that mail is written in.

Such links are never tracked: they must work without a detour, also where the redirect is
unavailable (RFC 8058; CAN-SPAM, 16 CFR 316.5; the mailbox providers' rules for bulk senders).
An ambiguous word counts as unsubscribing: German "Abmelden" is also "log out".
"""

# Letters of other scripts that look like Latin ones are intended here.
# ruff: noqa: RUF001

import re
import unicodedata
from collections import defaultdict
from functools import lru_cache
from urllib.parse import unquote

MAX_LABEL_CHARS = 60  # a longer text that mentions unsubscribing is an article about it

# Phrases by language (ISO 639; zh by script). `*` matches the rest of a word, `~` for up to
# three words, `!` for the end of a label without other text. Case and accents do not matter.
PHRASES: dict[str, tuple[str, ...]] = {
    "en": (
        "unsubscri*",
        "unsub",
        "opt out",
        "optout",
        "remove!",
        "here to be removed",
        "wish to be removed",
        "want to be removed",
        "to be removed from ~ list",
        "to be removed from ~ mailing*",
        "remove my e-mail",
        "remove my email",
        "remove ~ from this list",
        "remove ~ from our list",
        "remove ~ from ~ mailing list",
        "click here to remove",
        "stop further messages",
        "stop these messages",
        "stop mailings",
        "stop these mailings",
        "opting out",
        "opted out",
        "remove me",
        "stop receiving",
        "stop these emails",
        "stop emails",
        "no longer wish to receive",
        "cancel ~ subscription",
        "leave this list",
        "leave the list",
        "leave this mailing list",
        "take me off",
    ),
    "af": ("teken uit", "skryf uit", "uitteken", "meld af", "kanselleer ~ intekening"),
    "am": ("ከደንበኝነት ምዝገባ ውጣ", "የደንበኝነት ምዝገባን ሰርዝ"),
    "ar": (
        "إلغاء الاشتراك",
        "لإلغاء الاشتراك",
        "إلغاء اشتراك*",
        "ألغ الاشتراك",
        "الغ اشتراك*",
        "إلغاء المتابعة البريدية",
    ),
    "az": ("abunəlikdən çıx*", "abunəliyi ləğv", "abunəliyi dayandır*"),
    "be": ("адпісацца", "адпіска", "адмовіцца ад рассылкі", "скасаваць падпіску"),
    "bg": (
        "отпис*",
        "отпиш*",
        "откажи абонамент*",
        "отказ от абонамент*",
        "прекратяване на абонамент*",
    ),
    "bn": ("আনসাবস্ক্রাইব", "সদস্যতা বাতিল", "সাবস্ক্রিপশন বাতিল", "সাবস্ক্রাইব বাতিল"),
    "bs": ("odjavi se", "odjavite se", "odjava", "otkaži pretplatu"),
    "ca": (
        "donar-se de baixa",
        "donar-me de baixa",
        "donar-vos de baixa",
        "dona't de baixa",
        "cancel·lar ~ subscripció",
        "cancel·la ~ subscripció",
        "anul·lar ~ subscripció",
        "desubscri*",
        "baixa del butlletí",
    ),
    "cs": (
        "odhlásit*",
        "odhlaste*",
        "odhlášení",
        "odhlásím",
        "zrušit ~ odběr*",
        "zrušení odběru",
        "ukončit odběr",
        "nechci dostávat",
    ),
    "cy": ("dad-danysgrifio", "dad-danysgrifiwch", "datdanysgrifio"),
    "da": ("afmeld*", "frameld*", "afbestil nyhedsbrev*", "opsig abonnement*", "stop nyhedsbrev*"),
    "de": (
        "abmelde*",
        "abmeldung",
        "melde* ~ ab!",
        "melde* ~ ab vom",
        "abbestell*",
        "bestell* ~ newsletter ~ ab",
        "austragen",
        "abonnement kündigen",
        "newsletter kündigen",
        "keine e-mails mehr",
        "keine mails mehr",
        "keinen newsletter mehr",
        "deabonnieren",
    ),
    "el": (
        "απεγγραφ*",
        "απεγγραφείτε",
        "διαγραφή από",
        "διαγραφείτε",
        "κατάργηση εγγραφής",
        "κατάργηση συνδρομής",
        "ακύρωση εγγραφής",
        "ακύρωση συνδρομής",
        "διακοπή συνδρομής",
    ),
    "eo": ("malabon*",),
    "es": (
        "darse de baja",
        "darme de baja",
        "darte de baja",
        "dar de baja",
        "date de baja",
        "dese de baja",
        "baja del boletín",
        "baja de la lista",
        "baja del newsletter",
        "cancelar ~ suscripción",
        "cancela ~ suscripción",
        "anular ~ suscripción",
        "desuscri*",
        "dessuscri*",
        "cancelar subscripción",
        "anular subscripción",
        "no recibir más",
        "dejar de recibir",
    ),
    "et": (
        "loobu!",
        "loobun!",
        "loobumine!",
        "loobu uudiskir*",
        "loobun uudiskir*",
        "loobuda uudiskir*",
        "tühista ~ tellimus",
        "tellimuse tühistamine",
        "lahku listist",
        "eemalda mind",
    ),
    "eu": (
        "harpidetza kendu",
        "harpidetza utzi",
        "harpidetza bertan behera",
        "harpidetza ezeztatu",
        "eman baja",
        "baja eman",
    ),
    "fa": ("لغو اشتراک", "لغو عضویت", "انصراف از عضویت", "انصراف از اشتراک", "انصراف از دریافت"),
    "fi": (
        "peruuta tilaus",
        "peruuta uutiskirje*",
        "peru tilaus",
        "peru uutiskirje*",
        "lopeta tilaus",
        "tilauksen peruutus",
        "tilauksen peruuttaminen",
        "poistu listalta",
        "poistu postituslistalta",
        "poista minut",
        "en halua enää",
    ),
    "fil": (
        "mag-unsubscribe",
        "itigil ang subscription",
        "kanselahin ang subscription",
        "ihinto ang subscription",
    ),
    "fr": (
        "désabonn*",
        "désinscri*",
        "désinscrip*",
        "résilier ~ abonnement",
        "annuler ~ abonnement",
        "annuler ~ inscription",
        "ne plus recevoir",
        "me retirer de",
        "se retirer de",
    ),
    "ga": ("díliostáil", "díchlár*", "cuir deireadh le síntiús", "cealaigh síntiús"),
    "gl": (
        "darse de baixa",
        "dar de baixa",
        "cancelar ~ subscrición",
        "anular ~ subscrición",
        "cancelar ~ subscricion",
    ),
    "gu": ("અનસબ્સ્ક્રાઇબ", "સબ્સ્ક્રિપ્શન રદ"),
    "he": (
        "הסר!",
        "הסרה!",
        "להסרה",
        "הסר מרשימת",
        "הסרה מרשימת",
        "הסרה מהרשימה",
        "להסיר!",
        "הסירו אותי",
        "הסר אותי",
        "ביטול הרשמה",
        "ביטול מנוי",
        "ביטול רישום",
        "לביטול הרשמה",
        "לביטול המנוי",
        "בטל מנוי",
        "בטל הרשמה",
    ),
    "hi": (
        "सदस्यता समाप्त",
        "सदस्यता रद्द",
        "सदस्यता छोड़ें",
        "सदस्यता त्यागें",
        "अनसब्सक्राइब",
        "अनसब्स्क्राइब",
    ),
    "hr": ("odjavi se", "odjavite se", "odjava", "otkaži pretplatu", "otkazivanje pretplate"),
    "hu": (
        "leiratkoz*",
        "iratkozz* le",
        "iratkozzon le",
        "iratkozom le",
        "hírlevél lemondás*",
        "feliratkozás törlése",
        "lemondom a hírlevelet",
    ),
    "hy": ("ապաբաժանորդագրվել", "հրաժարվել բաժանորդագրությունից", "չեղարկել բաժանորդագրությունը"),
    "id": (
        "berhenti berlangganan",
        "berhenti langganan",
        "batalkan langganan",
        "batal berlangganan",
        "hentikan langganan",
    ),
    "is": ("afskrá*", "segja upp áskrift", "hætta áskrift", "hætta í áskrift", "skrá mig af"),
    "it": (
        "disiscri*",
        "annulla ~ iscrizione",
        "annulla l'iscrizione",
        "annullare ~ iscrizione",
        "annullare l'iscrizione",
        "cancella ~ iscrizione",
        "cancella l'iscrizione",
        "cancellati!",
        "cancellarsi",
        "cancellarti",
        "cancellare l'iscrizione",
        "cancellazione dalla",
        "cancellazione iscrizione",
        "disdici ~ iscrizione",
        "annulla ~ abbonamento",
        "annulla l'abbonamento",
        "non ricevere più",
        "rimuovimi",
    ),
    "ja": (
        "配信停止",
        "配信を停止",
        "配信の停止",
        "配信解除",
        "配信を解除",
        "配信中止",
        "配信を中止",
        "配信不要",
        "登録解除",
        "登録を解除",
        "登録の解除",
        "購読解除",
        "購読を解除",
        "購読停止",
        "購読を停止",
        "購読中止",
        "購読を中止",
        "受信停止",
        "受信を停止",
        "受信拒否",
        "メルマガ解除",
        "メルマガを解除",
        "メール停止",
        "退会",
        "オプトアウト",
    ),
    "ka": ("გამოწერის გაუქმება", "გამოწერის შეწყვეტა", "გააუქმე გამოწერა"),
    "kk": ("жазылымнан бас тарту", "жазылудан бас тарту", "жазылымды тоқтату", "жазылымнан шығу"),
    "km": ("ឈប់ជាវ", "បោះបង់ការជាវ"),
    "kn": ("ಅನ್‌ಸಬ್‌ಸ್ಕ್ರೈಬ್", "ಚಂದಾದಾರಿಕೆ ರದ್ದು", "ಚಂದಾದಾರಿಕೆಯನ್ನು ರದ್ದು"),
    "ko": (
        "구독 취소",
        "구독취소",
        "구독을 취소",
        "구독 해지",
        "구독해지",
        "구독 해제",
        "구독해제",
        "구독 중지",
        "구독중지",
        "수신 거부",
        "수신거부",
        "수신을 거부",
        "수신 중단",
        "수신동의 철회",
    ),
    "lb": ("ofmellen", "ofbestellen", "ofmeldung"),
    "lo": ("ຍົກເລີກການສະໝັກ", "ຍົກເລີກການຕິດຕາມ", "ເຊົາຮັບ"),
    "lt": (
        "atsisakyti ~ prenumerat*",
        "prenumeratos atsisak*",
        "atsisakyti naujienlaišk*",
        "atšaukti ~ prenumerat*",
        "nutraukti prenumerat*",
        "atsisakau naujienlaišk*",
        "išsiregistruoti",
    ),
    "lv": (
        "atrakst*",
        "atteikties no jaunum*",
        "atteikties no abon*",
        "atteikties no saņem*",
        "atteikties!",
        "anulēt abonement*",
        "atcelt abonement*",
        "pārtraukt abonement*",
    ),
    "mk": ("одјави се", "одјавете се", "одјава", "отпиши се", "откажи претплата"),
    "ml": ("അൺസബ്‌സ്‌ക്രൈബ്", "അൺസബ്സ്ക്രൈബ്", "വരിക്കാരനല്ലാതാകുക"),
    "mn": ("захиалгаа цуцлах", "бүртгэлээс хасах", "бүртгэлээс гарах"),
    "mr": ("सदस्यत्व रद्द", "सदस्यता रद्द"),
    "ms": (
        "nyahlanggan",
        "henti langgan*",
        "berhenti melanggan",
        "batal langgan*",
        "batalkan langganan",
    ),
    "mt": ("tneħħi l-abbonament", "neħħi l-abbonament", "ħassar l-abbonament", "iddeżabbona"),
    "my": ("စာရင်းမှ ထွက်", "စာရင်းသွင်းမှု ပယ်ဖျက်", "စာရင်းမှထွက်"),
    "ne": ("सदस्यता रद्द", "सदस्यता हटाउ"),
    "nl": (
        "uitschrijv*",
        "uitschrijf*",
        "schrijf ~ uit",
        "afmeld*",
        "meld ~ af",
        "abonnement opzeggen",
        "abonnement beëindigen",
        "geen e-mails meer",
        "geen nieuwsbrief meer",
    ),
    "no": (
        "meld deg av",
        "meld meg av",
        "avmeld*",
        "avregistrer*",
        "avslutt ~ abonnement*",
        "stopp abonnement*",
        "si opp abonnement*",
    ),
    "pa": ("ਅਨਸਬਸਕ੍ਰਾਈਬ", "ਗਾਹਕੀ ਰੱਦ"),
    "pl": (
        "wypisz*",
        "wypisać",
        "wypisanie",
        "wypisuję",
        "zrezygnuj!",
        "zrezygnuj z ~ subskrypcji",
        "zrezygnuj z newsletter*",
        "zrezygnuj z otrzymywania",
        "rezygnuję!",
        "rezygnuję z newsletter*",
        "rezygnacja z newsletter*",
        "rezygnacja z otrzymywania",
        "anuluj subskrypcj*",
        "anulowanie subskrypcji",
        "rezygnacja z subskrypcji",
        "wyrejestruj*",
        "nie chcę otrzymywać",
        "cofnij subskrypcję",
    ),
    "ps": ("ګډون لغوه", "نوم لیکنه لغوه"),
    "pt": (
        "cancelar ~ inscrição",
        "cancele ~ inscrição",
        "cancelar ~ assinatura",
        "cancele ~ assinatura",
        "cancelar ~ subscrição",
        "cancele ~ subscrição",
        "anular ~ subscrição",
        "anular ~ inscrição",
        "cancelamento de inscrição",
        "descadastr*",
        "desinscrev*",
        "desinscri*",
        "dessubscrev*",
        "desassinar",
        "cancelar recebimento",
        "cancelar o recebimento",
        "deixar de receber",
        "não quero receber",
        "não receber mais",
        "sair da lista",
        "remover ~ e-mail",
        "remover ~ email",
    ),
    "ro": (
        "dezabon*",
        "dezabonare",
        "dezînscri*",
        "anulare abonament*",
        "anulați abonament*",
        "renunțare la abonare",
        "anulează abonament*",
        "nu mai doresc",
    ),
    "ru": (
        "отписаться",
        "отпишитесь",
        "отписка",
        "отписывайтесь",
        "отказаться от рассыл*",
        "отказаться от подписк*",
        "отказаться от получения",
        "отменить подписку",
        "отмена подписки",
        "отключить рассылку",
        "прекратить рассылку",
        "не получать рассыл*",
        "не получать письма",
        "не хочу получать",
    ),
    "sk": (
        "odhlásiť*",
        "odhláste*",
        "odhlásenie",
        "zrušiť ~ odber*",
        "zrušenie odberu",
        "ukončiť odber",
        "nechcem dostávať",
    ),
    "sl": ("odjavi", "odjavi se", "odjavite se", "odjava", "odjavite", "odjaviti"),
    "sq": (
        "çregjistro*",
        "çabono*",
        "çabonim*",
        "hiq abonimin",
        "hiqni abonimin",
        "anulo abonimin",
        "çregjistrim*",
    ),
    "sr": (
        "одјав*",
        "одјави се",
        "одјавите се",
        "odjavi se",
        "откажи претплату",
        "otkaži pretplatu",
    ),
    "sv": (
        "avregistrer*",
        "avprenumerer*",
        "avsluta ~ prenumeration*",
        "säg upp ~ prenumeration*",
        "avanmäl*",
        "avbeställ nyhetsbrev*",
        "avbryt prenumeration*",
        "stoppa utskick*",
        "avprenumeration",
    ),
    "sw": ("jiondoe", "jitoe", "ghairi usajili", "acha kupokea", "jiondoe kwenye"),
    "ta": ("குழுவிலக*", "சந்தாவை ரத்து", "சந்தா நீக்க", "சந்தாவிலகு"),
    "te": ("చందా రద్దు", "చందాను రద్దు", "సభ్యత్వాన్ని రద్దు", "అన్‌సబ్‌స్క్రైబ్"),
    "th": (
        "ยกเลิกการสมัคร",
        "ยกเลิกการรับ",
        "ยกเลิกสมาชิก",
        "ยกเลิกการเป็นสมาชิก",
        "ยกเลิกการติดตาม",
        "เลิกรับ",
        "ไม่รับข่าวสาร",
        "หยุดรับ",
    ),
    "tr": (
        "abonelikten çık*",
        "aboneliği iptal",
        "aboneliğimi iptal",
        "aboneliğinizi iptal",
        "abonelik iptal*",
        "aboneliği sonlandır*",
        "aboneliğimi sonlandır*",
        "abonelikten ayrıl*",
        "üyelikten çık*",
        "üyelikten ayrıl*",
        "listeden çık*",
        "listeden ayrıl*",
        "e-posta listesinden çık*",
    ),
    "uk": (
        "відписатися",
        "відписатись",
        "відпишіться",
        "відписка",
        "відмовитися від розсил*",
        "відмовитись від розсил*",
        "відмовитися від підпис*",
        "відмовитись від підпис*",
        "скасувати підписку",
        "скасування підписки",
    ),
    "ur": ("ان سبسکرائب", "رکنیت ختم", "رکنیت منسوخ", "سبسکرپشن منسوخ"),
    "uz": ("obunani bekor qil*", "obunadan chiq*", "obunadan voz kech*", "обунани бекор қил*"),
    "vi": (
        "hủy đăng ký",
        "huỷ đăng ký",
        "bỏ đăng ký",
        "ngừng đăng ký",
        "ngừng nhận",
        "hủy nhận",
        "hủy theo dõi",
        "dừng nhận",
        "không nhận email",
        "rút khỏi danh sách",
    ),
    "zh-hans": (
        "取消订阅",
        "退订",
        "取消邮件订阅",
        "停止订阅",
        "解除订阅",
        "不再接收",
        "拒收邮件",
        "拒绝接收",
    ),
    "zh-hant": (
        "取消訂閱",
        "退訂",
        "停止訂閱",
        "解除訂閱",
        "不再接收",
        "取消電子報",
        "取消訂閲",
        "拒收郵件",
    ),
}

# Languages that write words without spaces, or grow endings and prefixes onto them.
_UNSPACED = ("am", "ja", "km", "ko", "lo", "my", "th", "zh-hans", "zh-hant")

# In URLs: for lower case without accents. Every alternative begins with a letter of its own: re
# then skips to those letters.
_URL = re.compile(
    r"a(?:bmeld(?:e|ung)|bbestell|fmeld|vmeld|vregistrer|vprenumerer|tsisakyti|trakst"
    r"|nnulla[-_]?(?:l[-_]?)?iscrizione)"
    r"|b(?:erhenti[-_]?berlangganan)"
    r"|c(?:ancelar[-_]?(?:la[-_]?)?(?:suscri|inscri|assinat|subscri)"
    r"|ancella[-_]?(?:l[-_]?)?iscrizione)"
    r"|d(?:esinscri|esabonn|ezabon|isiscri|escadastr|esuscri|essubscri"
    r"|ar(?:se|me|te)?[-_]?de[-_]?baja)"
    r"|f(?:rameld)|h(?:aishinteishi)|l(?:eiratko)|n(?:yahlanggan)"
    r"|o(?:(?<![a-z]o)pt[-_]?out(?![a-z])|dhlas|djav[ai]|tpis(?:at|k))"
    r"|p(?:(?<![a-z]p)eruuta[-_]?tilaus)|r(?:emove[-_]?me(?![a-z]))"
    r"|u(?:nsubscri|(?<![a-z]u)nsub(?![a-z])|itschrij)|w(?:ypis[za])"
)
_EDGES = re.compile(r"^\W+|\W+$")
_WORDS = re.compile(r"\w+")
_KEY_CHARS = 3  # of a phrase's first word


def is_unsubscribe(url: str, *labels: str) -> bool:
    """Returns whether the URL or one of the short labels says that it unsubscribes the reader."""
    if _in_url(url):
        return True
    for label in labels:
        if len(label) > MAX_LABEL_CHARS:
            continue
        if _in_label(label) or ("/" in label and _in_url(label)):
            return True
    return False


def _in_url(url: str) -> bool:
    text = url.lower()
    if "%" in text or not text.isascii():
        text = _plain(unquote(text))
    return bool(_URL.search(text))


@lru_cache(4096)  # messages of a stream share labels
def _in_label(label: str) -> bool:
    text = _EDGES.sub("", _plain(label))
    if any(
        pattern.match(text, word.start())
        for word in _WORDS.finditer(text)
        if (pattern := _SPACED_PATTERNS.get(word[0][:_KEY_CHARS]))
    ):
        return True
    return not text.isascii() and bool(_UNSPACED_PATTERN.search(text))


def _plain(text: str) -> str:
    """Returns text for comparisons: compatibility forms, case and accents folded, spaces single.

    Unicode Standard Annex 15 (NFKD) and section 3.13 of the standard (case folding).
    """
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
        text = "".join(
            c
            for c in decomposed
            if unicodedata.category(c)[0] != "M" and unicodedata.category(c) != "Cf"
        )
        text = text.replace("\u0131", "i")  # Turkish dotless i
    return " ".join(re.sub(r"['\u2019\u2018\u00b7\-_]+", " ", text.casefold()).split())


def _spaced() -> dict[str, re.Pattern[str]]:
    """Returns the phrases as patterns, by the first characters of their first word."""
    by_start: defaultdict[str, set[str]] = defaultdict(set)
    for language, phrases in PHRASES.items():
        for phrase in () if language in _UNSPACED else phrases:
            plain = _plain(phrase)
            pattern = re.escape(plain).replace(r"\ ", " ").replace(r"\*", r"\w*")
            pattern = pattern.replace(r"\~ ", r"(?:\w+ ){0,3}")
            pattern = f"^{pattern[:-1]}$" if pattern[-1] == "!" else pattern
            by_start[_start(plain)].add(pattern)
    return {
        start: re.compile(rf"(?:{'|'.join(sorted(patterns))})(?!\w)")
        for start, patterns in by_start.items()
    }


def _start(text: str) -> str:
    return re.split(r"\W", text, maxsplit=1)[0][:_KEY_CHARS]


_SPACED_PATTERNS = _spaced()
_UNSPACED_PATTERN = re.compile(
    "|".join(
        sorted({re.escape(_plain(phrase)) for code in _UNSPACED for phrase in PHRASES[code]})
    ).replace(r"\ ", " ?")
)
