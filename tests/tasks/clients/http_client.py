"""HTTP with Python's urllib and requests, as they come: `http_client.py URL APP SEED`."""

import random
import sys
import urllib.request

import requests
from told import check, differs, unmarked

BODY = 100_000


def main():
    """Each way once."""
    url, app, seed = sys.argv[1:]
    body = random.Random(int(seed)).randbytes(BODY)

    def right(got, headers, wanted):
        return unmarked(headers.get("x-seen-request-id")) or differs(headers.get("x-app"), app) or differs(got, wanted)

    def with_urllib(path, data):
        with urllib.request.urlopen(urllib.request.Request(url + path, data=data), timeout=20) as response:
            return right(response.read(), response.headers, data or f"hello from {app}".encode())

    def with_requests(path, data):
        response = requests.request("POST" if data else "GET", url + path, data=data, timeout=20)
        response.raise_for_status()
        return right(response.content, response.headers, data or f"hello from {app}".encode())

    def session():
        with requests.Session() as kept:
            for _ in range(20):
                response = kept.get(url + "/hello", timeout=20)
                if wrong := right(response.content, response.headers, f"hello from {app}".encode()):
                    return wrong
        return ""

    check("urllib, GET", lambda: with_urllib("/hello", None))
    check("urllib, POST", lambda: with_urllib("/echo", body))
    check("requests, GET", lambda: with_requests("/hello", None))
    check("requests, POST", lambda: with_requests("/echo", body))
    check("requests, 20 GETs in a session", session)


if __name__ == "__main__":
    main()
