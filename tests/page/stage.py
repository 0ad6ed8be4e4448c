"""What the checks of the page are made with: a browser that notes all that goes wrong in it, and waiting."""

import contextlib
import time
from pathlib import Path

from fake import Fake

CHROMIUM = "/usr/bin/chromium"
# What is waited for comes within a second or two.
DEADLINE = 20
CONTRAST = (Path(__file__).parent / "contrast.js").read_text().split("\n", 2)[2]
# Notes what a browser only tells those who listen from the start.
LISTEN = """
window.noted = { violations: [], long: [] };
document.addEventListener("securitypolicyviolation", (event) =>
  noted.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
new PerformanceObserver((list) => list.getEntries().forEach((one) => noted.long.push(one.duration)))
  .observe({ type: "longtask" });
"""


class Failed(Exception):
    """What was to be seen was not."""


def expect(what, seen, good):
    """Fails unless it is good."""
    if not good:
        raise Failed(f"{what}: {seen}")
    print(f"  {what}: {seen}", flush=True)


class Visit:
    """One tab on the page. All that its console says, and each exception, is a failure at the end."""

    def __init__(self, page, shots):
        self.page = page
        self.shots = shots
        self.wrong = []
        # Answers with an error are what some checks are about; the browser says so on the console.
        self.errors_expected = False
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self.wrong.append(f"exception: {error}"))

    def _note(self, kind, text):
        if kind in ("error", "warning") and not (self.errors_expected and "Failed to load resource" in text):
            self.wrong.append(f"{kind}: {text}")

    async def until(self, what, script, argument=None, within=DEADLINE):
        """Waits until the script is true in the page; returns how long that took, in seconds."""
        began = time.monotonic()
        # Not by wait_for_function: that evaluates in the page, which the page's policy forbids, as it should.
        while not await self.page.evaluate(script, argument):
            if time.monotonic() - began > within:
                text = (await self.page.inner_text("body"))[:1500]
                raise Failed(f"waited in vain for {what}; the page says: {text}")
            await self.page.wait_for_timeout(20)
        return time.monotonic() - began

    async def pictures(self, fake, count=3):
        """Waits until so many more pictures have been asked for, the last but one of which is drawn by then."""
        before = sum(path == "/picture" for _, path in fake.asked)
        while sum(path == "/picture" for _, path in fake.asked) < before + count:
            await self.page.wait_for_timeout(20)

    async def shot(self, name, whole=True):
        """A screenshot for people to look at."""
        await self.page.screenshot(path=self.shots / f"{name}.png", full_page=whole)

    async def check_contrast(self, what):
        """All text that can be seen can be read."""
        seen = await self.page.evaluate(CONTRAST)
        expect(
            f"contrast, {what}: {seen['looked']} texts, too faint",
            seen["found"],
            not seen["found"] and seen["looked"] > 20,
        )

    async def check_width(self, what):
        """Nothing makes the page wider than the screen."""
        wide, room = await self.page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        expect(f"width, {what}: page {wide} px, screen", room, wide <= room)

    async def check_clean(self):
        """Nothing was refused, thrown, or run that should not be."""
        noted = await self.page.evaluate("noted.violations")
        hacked = await self.page.evaluate("window.hacked ?? null")
        if self.wrong or noted or hacked is not None:
            raise Failed(f"console {self.wrong}, violations {noted}, executed {hacked}")


@contextlib.asynccontextmanager
async def visit(browser, url, shots, width=1440, height=900, scheme="light", ready=True, **more):
    """The page in a tab of its own, and nothing wrong in it at the end."""
    context = await browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-GB", **more
    )
    await context.add_init_script(LISTEN)
    one = Visit(await context.new_page(), shots)
    try:
        await one.page.goto(url)
        if ready:
            await one.until("the first picture", "document.getElementById('figure-revision').textContent !== '–'")
        yield one
        await one.check_clean()
    finally:
        await context.close()


@contextlib.asynccontextmanager
async def faked(browser, shots, scenario="demo", path="", **more):
    """(stand-in, visit) of a scenario of a made-up mesh."""
    fake = Fake(scenario)
    try:
        async with visit(browser, fake.url + path, shots, **more) as seen:
            yield fake, seen
    finally:
        fake.end()
