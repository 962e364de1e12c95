"""Lists User-Agent strings as mail clients, browsers and machines send them."""

GMAIL_PROXY = (
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
)
YAHOO_PROXY = "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html"
APPLE_PRIVACY = "Mozilla/5.0"  # Mail Privacy Protection sends no more than this

_WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"
_MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
_ANDROID = "Mozilla/5.0 (Linux; Android 10; K)"
_IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X)"
_IPAD = "Mozilla/5.0 (iPad; CPU OS 18_6 like Mac OS X)"
_WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
_BLINK = "AppleWebKit/537.36 (KHTML, like Gecko)"

IPHONE_MAIL = f"{_IPHONE} {_WEBKIT} Mobile/15E148"
IPAD_MAIL = f"{_IPAD} {_WEBKIT} Mobile/15E148"
MAC_MAIL = f"{_MAC} {_WEBKIT}"
OUTLOOK = (
    "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; WOW64; Trident/7.0; .NET4.0C; .NET4.0E;"
    " Microsoft Outlook 16.0.17928; ms-office; MSOffice 16)"
)
OUTLOOK_OFFICE = (
    "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.18227; Pro; ms-office;"
    " MSOffice 16)"
)
OUTLOOK_IOS = f"{_IPHONE} {_WEBKIT} Mobile/15E148 Outlook-iOS/2.0"
OUTLOOK_ANDROID = (
    "Mozilla/5.0 (Linux; Android 15; SM-S931B Build/AP3A.240905.015; wv)"
    f" {_BLINK} Version/4.0 Chrome/142.0.7444.102 Mobile Safari/537.36 Outlook-Android/2.0"
)
THUNDERBIRD = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Thunderbird/140.5.0"
THUNDERBIRD_WINDOWS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Thunderbird/140.5.0"
)
SAMSUNG_MAIL = (
    "Mozilla/5.0 (Linux; Android 15; SM-A556B Build/AP3A.240905.015; wv)"
    f" {_BLINK} Version/4.0 Chrome/142.0.7444.102 Mobile Safari/537.36 SamsungEmail/6.1.90"
)
ANDROID_MAIL = (
    "Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/AP2A.240805.005; wv)"
    f" {_BLINK} Version/4.0 Chrome/142.0.7444.102 Mobile Safari/537.36"
)

CHROME = f"{_WINDOWS} {_BLINK} Chrome/142.0.0.0 Safari/537.36"
CHROME_MAC = f"{_MAC} {_BLINK} Chrome/142.0.0.0 Safari/537.36"
CHROME_PHONE = f"{_ANDROID} {_BLINK} Chrome/142.0.0.0 Mobile Safari/537.36"
CHROME_TABLET = f"Mozilla/5.0 (Linux; Android 14; SM-X710) {_BLINK} Chrome/142.0.0.0 Safari/537.36"
EDGE = f"{CHROME} Edg/142.0.0.0"
FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0"
FIREFOX_LINUX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
SAFARI = f"{_MAC} {_WEBKIT} Version/18.6 Safari/605.1.15"
SAFARI_PHONE = f"{_IPHONE} {_WEBKIT} Version/18.6 Mobile/15E148 Safari/604.1"
SAFARI_TABLET = f"{_IPAD} {_WEBKIT} Version/18.6 Mobile/15E148 Safari/604.1"
SAMSUNG_BROWSER = f"{_ANDROID} {_BLINK} SamsungBrowser/29.0 Chrome/136.0.0.0 Mobile Safari/537.36"

BROWSERS = (
    CHROME,
    CHROME_MAC,
    CHROME_PHONE,
    CHROME_TABLET,
    EDGE,
    FIREFOX,
    FIREFOX_LINUX,
    SAFARI,
    SAFARI_PHONE,
    SAFARI_TABLET,
    SAMSUNG_BROWSER,
)
# Each request says what it is for: Sec-Fetch-* (W3C Fetch Metadata).
FETCH_METADATA = frozenset(BROWSERS)

BARRACUDA = "Barracuda Sentinel (EE)"
BING_PREVIEW = f"Mozilla/5.0 (Windows NT 6.1; WOW64) {_BLINK} BingPreview/1.0b"
# These two send an ordinary browser's name, so that no attacker can show them another page.
SAFE_LINKS = f"{_WINDOWS} {_BLINK} Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0"
MIMECAST = f"{_WINDOWS} {_BLINK} Chrome/134.0.0.0 Safari/537.36"

PREVIEWS = (
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "WhatsApp/2.2587.9 W",
    "TelegramBot (like TwitterBot)",
)
CRAWLERS = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
)
LIBRARIES = ("curl/8.14.1", "python-requests/2.32.5", "Go-http-client/2.0")
