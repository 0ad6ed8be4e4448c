"""What the page does, seen in a browser on a made-up mesh. Each `check_` takes a browser and the folder of the
screenshots."""

from mesh import HOSTILE
from stage import expect, faked

GRAPH = "document.querySelector('.charts').checkVisibility()"


async def check_shows(browser, shots):
    """All that the picture says is there, in words."""
    async with faked(browser, shots, path="#service=server") as (_, seen):
        page = seen.page
        await seen.until("the graph", GRAPH)
        figures = await page.inner_text(".top .figures")
        expect(
            "header", figures.split("\n"), all(word in figures for word in ("10, ✕ 1 ejected", "4, ▲ 1 behind", "42"))
        )
        nodes = await page.eval_on_selector_all(".node", "all => all.map((one) => one.getAttribute('aria-label'))")
        expect("nodes of the map", nodes, len(nodes) == 5 and any("5 endpoints, 1 ejected" in one for one in nodes))
        lines = await page.eval_on_selector_all(".call title", "all => all.map((one) => one.textContent)")
        expect("lines of the map", lines, len(lines) == 4 and any(one.startswith("web → server: ") for one in lines))
        layers = await page.eval_on_selector_all(
            ".node",
            "all => all.map((one) => [one.querySelector('title').textContent.split(/[:,]/)[0], one.getBoundingClientRect().left])",
        )
        left = dict(layers)
        expect(
            "callers left of services",
            left,
            left["web"] == left["worker"] < left["server"] == left["chat"] < left["stock"],
        )
        row = await page.inner_text("#endpoints tbody tr:nth-child(3)")
        expect(
            "the ejected endpoint's row", row.split(), "ejected" in row and "2 of 2" in row and "eu-central-1c" in row
        )
        failures = await page.locator("#failures-list li").all_inner_texts()
        expect(
            "failures",
            failures[:2],
            len(failures) == 5
            and "ejected" in failures[0] + failures[1]
            and "Connection refused" in failures[0] + failures[1],
        )
        expect(
            "proxies",
            await page.locator("#proxies tbody tr").count(),
            await page.get_by_text("1 revision behind").count() == 1,
        )
        missing = await page.eval_on_selector_all(
            "table",
            "all => all.filter((one) => !one.querySelector('thead th[scope=col]') || !one.getAttribute('aria-label')).length",
        )
        expect("tables without headings or a name", missing, missing == 0)
        landmarks = [
            await page.locator(one).count() for one in ("main", "header", "footer", "section[aria-labelledby]")
        ]
        expect("landmarks", landmarks, landmarks == [1, 1, 1, 6])
        await seen.shot("demo-light")
        await page.select_option("#failures-service", "chat")
        expect(
            "failures of chat alone",
            await page.locator("#failures-list li").count(),
            await page.locator("#failures-list li").count() == 2,
        )
        await page.check("#failures-told")
        await page.select_option("#failures-service", "server")
        expect(
            "none that the app saw at server",
            await page.inner_text("#failures-empty"),
            await page.locator("#failures-list li:visible").count() == 0,
        )


async def check_in_place(browser, shots):
    """Pictures change what they must, and nothing else: nodes, focus, selection and scroll position stay."""
    async with faked(browser, shots, path="#service=server") as (fake, seen):
        page = seen.page
        await seen.until("the graph", GRAPH)
        await page.evaluate("""() => {
          window.kept = [...document.querySelectorAll(".node, .call, #endpoints tr, #failures-list li, #proxies tr, .charts svg")];
          window.said = document.querySelector(".node[data-kind=service] .line").textContent;
          document.querySelector("#called-by .open").focus();
          const cell = document.querySelector("#endpoints th .said").firstChild;
          document.getSelection().setBaseAndExtent(cell, 0, cell, 8);
        }""")
        await seen.until(
            "a figure to change", "document.querySelector('.node[data-kind=service] .line').textContent !== said"
        )
        await seen.pictures(fake, 4)
        kept = await page.evaluate("[kept.length, kept.filter((one) => !one.isConnected).length]")
        expect("nodes that stayed, and that went", kept, kept[0] > 20 and kept[1] == 0)
        selected = await page.evaluate("document.getSelection().toString()")
        expect("selected text", selected, selected == "10.0.0.1")
        expect(
            "focus",
            await page.evaluate("document.activeElement.textContent"),
            await page.evaluate("document.activeElement.matches('#called-by .open')"),
        )
        # New failures come on top of what is there.
        await page.evaluate("document.getSelection().removeAllRanges()")
        await page.evaluate("window.row = document.querySelector('#failures-list li')")
        with fake.lock:
            fake.mesh.fail("chat", None, "no_endpoints", "chat has no endpoint", told=True)
        await seen.until(
            "the new failure", "document.querySelector('#failures-list li').textContent.includes('no endpoints')"
        )
        expect(
            "the row before it stayed",
            await page.evaluate("row.isConnected"),
            await page.evaluate("row.previousSibling !== null"),
        )


async def check_change(browser, shots):
    """An endpoint that is killed is announced, once; the page shows it, and its return."""
    async with faked(browser, shots, path="#service=server") as (fake, seen):
        page = seen.page
        await seen.until("the endpoints", "document.querySelectorAll('#endpoints tbody tr').length === 5")
        await page.evaluate("""() => {
          window.told = [];
          new MutationObserver(() => told.push(document.getElementById("change").textContent))
            .observe(document.getElementById("change"), { childList: true, characterData: true, subtree: true });
        }""")
        with fake.lock:
            fake.mesh.kill("server", "10.0.0.20:9001")
        took = await seen.until(
            "the ejected endpoint", "document.querySelectorAll('#endpoints td[data-level=bad]').length >= 4"
        )
        expect("shown after seconds", round(took, 2), took < 5)
        await seen.until(
            "its failure", "document.querySelector('#failures-list').textContent.includes('10.0.0.20:9001')"
        )
        await seen.pictures(fake, 4)
        told = await page.evaluate("told")
        expect("announced", told, len(told) == 1 and "10.0.0.20:9001 of server is ejected" in told[0])
        live = await page.get_attribute("#change", "role")
        expect("politely", live, live == "status")
        await seen.shot("killed")
        with fake.lock:
            fake.mesh.bring_back("server", "10.0.0.20:9001")
        await seen.until("its return", "document.getElementById('change').textContent.includes('is back')")


async def check_keyboard(browser, shots):
    """Everything can be reached and done without a mouse, and the focus can be seen."""
    async with faked(browser, shots) as (_, seen):
        page, keys = seen.page, seen.page.keyboard
        await seen.until("the map", "document.querySelectorAll('.node').length === 5")
        await keys.press("Tab")
        expect(
            "first stop",
            await page.evaluate("document.activeElement.textContent"),
            await page.evaluate("document.activeElement.matches('.skip')"),
        )
        stops, faint = [], []
        for _ in range(80):
            stop, visible = await page.evaluate("""() => {
              const one = document.activeElement;
              const style = getComputedStyle(one.matches(".node") ? one.querySelector(".box") : one);
              const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
              return [one.id || one.getAttribute("class") || one.localName, outlined || parseFloat(style.strokeWidth) >= 3];
            }""")
            if stop == "body" or (stops and stop == "skip"):
                break
            stops.append(stop)
            if not visible:
                faint.append(stop)
            await keys.press("Tab")
        expect(
            "stops",
            stops,
            {
                "filter",
                "as-map",
                "node",
                "charts",
                "failures-service",
                "explain-url",
                "proxies-filter",
                "pause",
                "theme",
            }
            <= set(stops),
        )
        expect("the map is one stop", stops.count("node"), stops.count("node") == 1)
        expect("stops without a visible focus", faint, not faint)
        await page.focus(".node[tabindex='0']")
        for key in ("ArrowRight", "ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"):
            await keys.press(key)
        at = await page.evaluate("document.activeElement.querySelector('.title').textContent")
        expect("arrow keys lead to", at, at in ("server", "chat", "stock"))
        lit = await page.locator(".call[data-lit]").count()
        expect("lines that stand out", lit, 0 < lit < 4)
        await seen.shot("focus")
        await keys.press("Enter")
        opened = await page.evaluate("[document.activeElement.id, document.activeElement.textContent, location.hash]")
        expect("Enter opens", opened, opened == ["panel-title", at, f"#service={at}"])
        await keys.press("Escape")
        back = await page.evaluate(
            "[document.activeElement.getAttribute('class'), document.getElementById('panel').hidden]"
        )
        expect("Escape closes, and leads back to the map", back, back == ["node", True])
        await keys.press("Enter")
        await seen.until("the graph", GRAPH)
        await page.focus(".charts")
        before = await page.get_attribute(".charts", "aria-valuetext")
        await keys.press("ArrowLeft")
        await keys.press("PageUp")
        after = await page.get_attribute(".charts", "aria-valuetext")
        expect("arrow keys read the graph", after, after != before and "requests/s" in after)
        await page.focus("#endpoints .sort >> nth=4")
        await keys.press("Enter")
        addresses = await page.locator("#endpoints tbody th").all_inner_texts()
        expect("not by address any more", addresses, addresses != sorted(addresses))
        rates = [float(one) for one in await page.locator("#endpoints tbody td:nth-child(5)").all_inner_texts()]
        expect("sorted by rate", rates, rates == sorted(rates, reverse=True))
        await page.evaluate("document.activeElement.blur()")
        await keys.press("/")
        await keys.type("stock")
        await seen.until("the filter", "document.querySelectorAll('.node').length === 2")
        await keys.press("Escape")
        await seen.until("all again", "document.querySelectorAll('.node').length === 5")
        await page.focus("#as-list")
        await keys.press("Enter")
        expect(
            "the list", await page.locator("#list tbody tr").count(), await page.locator("#list tbody tr").count() == 5
        )


async def check_explain(browser, shots):
    """A URL in; steps, candidates, or an error in words out."""
    async with faked(browser, shots) as (_, seen):
        page = seen.page
        await page.fill("#explain-url", "server.hello-world.com:5000")
        await page.keyboard.press("Enter")
        await seen.until("an explanation", "document.querySelectorAll('#explain-answer .steps li').length === 4")
        text = await page.inner_text("#explain-answer")
        expect("explained", text.split("\n")[:3], "To server" in text and "ejected by 2 of 2 proxies" in text)
        await seen.shot("explain")
        await page.fill("#explain-url", "http://serve.hello-world.com:5000/")
        await page.keyboard.press("Enter")
        await seen.until(
            "the nearest name", "document.getElementById('explain-answer').textContent.includes('did you mean server.')"
        )
        seen.errors_expected = True
        await page.fill("#explain-url", "http://")
        await page.keyboard.press("Enter")
        await seen.until(
            "an error in words", "document.getElementById('explain-answer').textContent.includes('is no absolute URL')"
        )


async def check_empty(browser, shots):
    """Where there is nothing, the page says what to do."""
    async with faked(browser, shots, "empty") as (_, seen):
        text = await seen.page.inner_text("main")
        for words in (
            "No service yet",
            "discoveryName: server",
            "No proxy is connected",
            "bowline-proxy run --control http://127.0.0.1:18000 --namespace hello-world.com",
        ):
            expect("empty", words, words in text)
    async with faked(browser, shots, "silent") as (fake, seen):
        await seen.pictures(fake, 2)
        text = await seen.page.inner_text("main")
        for words in (
            "No proxy has reported a request yet",
            "curl -x http://127.0.0.1:15001 http://server.hello-world.com:5000/",
            "none yet",
        ):
            expect("silent", words, words in text)


async def check_away(browser, shots):
    """Control away: it says so, asks less often, keeps what it has, and is there again."""
    async with faked(browser, shots) as (fake, seen):
        page = seen.page
        seen.errors_expected = True
        nodes = await page.locator(".node").count()
        fake.away = True
        await seen.until("the banner", "!document.getElementById('away').hidden")
        await seen.until("seldom", "document.getElementById('link-more').textContent.includes('5 s')")
        text = await page.inner_text("#away")
        expect("away", text, "control is starting" in text and "What is shown is from" in text)
        expect(
            "what was there stays", await page.locator(".node").count(), await page.locator(".node").count() == nodes
        )
        await seen.shot("away")
        asked = [moment for moment, path in fake.asked if path == "/picture"]
        gaps = [round(b - a, 1) for a, b in zip(asked, asked[1:])][-4:]
        expect("seconds between questions", gaps, gaps == sorted(gaps) and gaps[-1] > 2)
        fake.away = False
        await seen.until(
            "live again",
            "document.getElementById('link').textContent.includes('live') && document.getElementById('away').hidden",
        )
    async with faked(browser, shots) as (fake, seen):
        # A browser without a screen hides no tab: the page is told as a browser with one would tell it.
        await seen.page.evaluate("""Object.defineProperty(document, "hidden", { value: true, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"))""")
        await seen.until(
            "in the background",
            """document.getElementById("link").textContent.includes("background")
              && document.getElementById("link-more").textContent.endsWith(" 5 s")""",
        )
        await seen.page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
        took = await seen.until("live again", "document.getElementById('link').textContent.includes('live')")
        expect("live again at once, after seconds", round(took, 2), took < 3)
        await seen.page.click("#pause")
        await seen.until("paused", "document.getElementById('link').textContent.includes('paused')")
        before = len(fake.asked)
        # Nothing tells that nothing comes: four times the usual pause.
        await seen.page.wait_for_timeout(2000)
        expect("questions while paused", len(fake.asked) - before, len(fake.asked) - before <= 1)
        await seen.page.click("#pause")
        await seen.pictures(fake, 2)


async def check_hostile(browser, shots):
    """Names that try to be markup are names."""
    for path in (
        "",
        "#service=" + "%3Cimg%20src%3Dx%20onerror%3Dwindow.hacked%3D1%3E",
        "#service=%",
        "#service=__proto__",
    ):
        async with faked(browser, shots, "hostile", path) as (fake, seen):
            await seen.pictures(fake, 3)
            text = await seen.page.evaluate("document.body.textContent")
            missing = [name for name in HOSTILE if name not in text]
            expect("names that can't be read", missing, not missing)
            made = await seen.page.evaluate(
                "document.querySelectorAll('main img, main script, main [onload], main [onerror], main [onfocus]').length"
            )
            expect("elements made of names", made, made == 0)
