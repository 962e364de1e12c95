"""Knows which browsers send fetch metadata (Sec-Fetch-*), by the versions that they claim.

Browsers send it to trustworthy URLs only, so to https and not to http (W3C, Fetch Metadata Request
Headers, section 2). A request to an https URL that claims to come from one of these browsers and
has none was sent by a program, or by something between browser and service that removed it: a hint,
never a verdict.
"""

import re
from functools import lru_cache

# The first versions that send Sec-Fetch-Mode (developer.mozilla.org, Sec-Fetch-Mode, browser
# compatibility). Edge 79 is the first of those built on Chromium.
_CHROMIUM, _FIREFOX, _SAFARI = 80, 90, (16, 4)
_CHROMIUM_VERSION = re.compile(r"\bChrome/(\d{1,4})\.")
_FIREFOX_VERSION = re.compile(r"\bFirefox/(\d{1,4})\.")
_SAFARI_VERSION = re.compile(r"\bVersion/(\d{1,3})\.(\d{1,3})\b.*\bSafari/")
# Browsers that fetch pages on a server, web views of apps, and Edge before Chromium: some send no
# fetch metadata although they claim to be Chrome or Safari.
_UNSURE = re.compile(
    r"; wv\)|\bEdge/|\bOPR/|Opera Mini|UCBrowser|Silk/|Puffin|FBA[NV]|Instagram|Version/4\.0 "
    r"|CriOS/|FxiOS/|EdgiOS/"
)


def no_https(workspace: str) -> bool:
    """Returns False: nothing is known of the workspace's public URL."""
    return False


@lru_cache(maxsize=65_536)
def is_expected(user_agent: str) -> bool:
    """Returns whether a click by this agent on an https link should carry fetch metadata."""
    if _UNSURE.search(user_agent):
        return False
    if chromium := _CHROMIUM_VERSION.search(user_agent):
        return int(chromium[1]) >= _CHROMIUM
    if firefox := _FIREFOX_VERSION.search(user_agent):
        return int(firefox[1]) >= _FIREFOX
    safari = _SAFARI_VERSION.search(user_agent)
    return bool(safari and (int(safari[1]), int(safari[2])) >= _SAFARI)
