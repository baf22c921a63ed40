"""Opening a page in Chromium, and seeing what it asks for."""

import json


def open_page(browser, path):
    """Open a file and return the addresses that were asked for, apart from data inside it.

    The browser's own pages (chrome:) may still be loading; a file cannot ask for them.
    """
    browser.get_log("performance")
    browser.get(path.as_uri())
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return {
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
        and not message["params"]["request"]["url"].startswith(("data:", "chrome:"))
    }
