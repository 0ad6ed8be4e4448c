"""How the page looks and what it costs, seen in a browser on a made-up mesh. Each `check_` takes a browser and the
folder of the screenshots."""

import time

from stage import expect, faked

# A picture of 2,000 endpoints may take so much of the browser's main thread, in milliseconds. It takes 40 to 160 on two
# processors that compile meanwhile.
MOST_WORK = 600
NARROW = 360


async def check_themes(browser, shots):
    """Light and dark by the system, another one when chosen; all text can be read in both, in every state."""
    for scheme in ("light", "dark"):
        for scenario in ("demo", "sixty", "hostile", "empty", "silent"):
            path = "#service=server" if scenario == "demo" else ""
            async with faked(browser, shots, scenario, path, scheme=scheme) as (fake, seen):
                await seen.pictures(fake, 2)
                # Colours fade into each other for a quarter of a second.
                await seen.until(
                    "colours to rest", "document.getAnimations().every((one) => one.playState !== 'running')"
                )
                await seen.check_contrast(f"{scenario} {scheme}")
                await seen.shot(f"{scenario}-{scheme}")
        async with faked(browser, shots, scheme=scheme) as (fake, seen):
            seen.errors_expected = True
            fake.away = True
            await seen.until("the banner", "!document.getElementById('away').hidden")
            await seen.check_contrast(f"away {scheme}")
    async with faked(browser, shots, scheme="light") as (_, seen):
        ground = "getComputedStyle(document.body).backgroundColor"
        system = await seen.page.evaluate(ground)
        await seen.page.click("#theme")
        await seen.page.click("#theme")
        chosen = await seen.page.evaluate(ground)
        await seen.page.reload()
        kept = await seen.page.evaluate(ground)
        expect("chosen, and kept over a reload", [system, chosen, kept], system != chosen == kept)
        expect(
            "the button says so",
            await seen.page.inner_text("#theme"),
            await seen.page.inner_text("#theme") == "Theme: dark",
        )


async def check_narrow(browser, shots):
    """On a phone: the map is a list, and nothing is wider than the screen."""
    for scenario in ("demo", "sixty", "large", "hostile", "empty", "silent"):
        async with faked(browser, shots, scenario, width=NARROW, height=780, scheme="dark", has_touch=True) as (
            fake,
            seen,
        ):
            await seen.pictures(fake, 2)
            await seen.check_width(f"{scenario}")
            if scenario == "empty":
                continue
            expect(
                "map, list",
                await seen.page.evaluate(
                    "[!document.getElementById('map').hidden, !document.getElementById('list').hidden]"
                ),
                await seen.page.locator("#list tbody tr").count() > 0 and not await seen.page.is_visible("#map"),
            )
            await seen.page.locator("#list .open").first.tap()
            await seen.until("the panel", "!document.getElementById('panel').hidden")
            await seen.pictures(fake, 2)
            await seen.check_width(f"{scenario} with a panel")
            if scenario in ("demo", "hostile"):
                await seen.check_contrast(f"{scenario} narrow")
                await seen.shot(f"{scenario}-narrow")
    for width in (800, 1100, 1920):
        async with faked(browser, shots, "sixty", "#service=store-05", width=width) as (_, seen):
            await seen.check_width(f"sixty, {width}")
            await seen.shot(f"sixty-{width}", whole=False)


async def check_calm(browser, shots):
    """Who wants no motion gets none."""
    async with faked(browser, shots, reduced_motion="reduce") as (fake, seen):
        await seen.pictures(fake, 2)
        moving = await seen.page.evaluate("""[...document.querySelectorAll("*")].map((one) => getComputedStyle(one))
              .filter((style) => style.transitionDuration !== "0s" || style.animationName !== "none").length""")
        expect("elements that move", moving, moving == 0)


async def check_many(browser, shots):
    """Two hundred services with two thousand endpoints don't make the page lag."""
    for view in ("map", "list", "everything"):
        async with faked(browser, shots, "large") as (fake, seen):
            page = seen.page
            if view == "list":
                await page.click("#as-list")
                await seen.until("the list", "document.querySelectorAll('#list tbody tr').length > 200")
            if view == "everything":
                await page.click("#all")
                await seen.until("all nodes", "document.querySelectorAll('.node').length > 200")
            await seen.pictures(fake, 3)
            session = await page.context.new_cdp_session(page)
            await session.send("Performance.enable")

            async def spent():
                """Milliseconds of the main thread, by kind."""
                metrics = {
                    one["name"]: one["value"] * 1000
                    for one in (await session.send("Performance.getMetrics"))["metrics"]
                }
                return {
                    kind: metrics[kind]
                    for kind in ("TaskDuration", "ScriptDuration", "LayoutDuration", "RecalcStyleDuration")
                }

            await page.evaluate("noted.long.length = 0")
            before, asked, began = await spent(), len(fake.asked), time.monotonic()
            await seen.pictures(fake, 10)
            count = sum(path == "/picture" for _, path in fake.asked[asked:])
            after = await spent()
            each = {kind: round((after[kind] - before[kind]) / count, 1) for kind in after}
            rate = count / (time.monotonic() - began)
            longest = max(await page.evaluate("noted.long"), default=0)
            print(f"  {view}: {rate:.1f} pictures/s, longest task {longest:.0f} ms", flush=True)
            expect(f"{view}: milliseconds of the main thread for a picture", each, each["TaskDuration"] < MOST_WORK)
            await seen.shot(f"large-{view}", whole=False)
            nodes = await page.evaluate("document.querySelectorAll('*').length")
            expect(f"{view}: elements", nodes, nodes < 20_000)
