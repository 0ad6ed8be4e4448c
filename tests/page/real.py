"""Bowline's own programs: control, two proxies, five endpoints, a load; an endpoint is killed, and the page shows it."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "interop"))

import control_stage  # noqa: E402, it lies in another folder
import selfcheck  # noqa: E402

from stage import Failed, expect, visit  # noqa: E402

HERE = Path(__file__).parent
# Each caller's requests a second.
RATE = 50
ENDPOINTS = 5
URL = "http://server.hello-world.com:5000/"


class Load:
    """A steady load through a proxy's forward proxy. What fails is counted and goes on."""

    def __init__(self, proxy):
        self.proxy = proxy
        self.answers = {}
        self.over = False
        self.tasks = [asyncio.ensure_future(self._run(number)) for number in range(5)]

    async def _run(self, number):
        host, port = self.proxy.rsplit(":", 1)
        # Evenly, not all at once.
        due = asyncio.get_running_loop().time() + number / RATE
        while not self.over:
            await asyncio.sleep(max(0, due - asyncio.get_running_loop().time()))
            due += len(self.tasks) / RATE
            try:
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(
                    f"GET {URL} HTTP/1.1\r\nhost: server.hello-world.com:5000\r\nconnection: close\r\n\r\n".encode()
                )
                status = (await asyncio.wait_for(reader.read(), 10)).split(b" ", 2)[1].decode()
                writer.close()
            except (OSError, IndexError, asyncio.TimeoutError) as error:
                status = type(error).__name__
            self.answers[status] = self.answers.get(status, 0) + 1

    async def end(self):
        """Stops; returns how often which answer came."""
        self.over = True
        await asyncio.gather(*self.tasks)
        return self.answers


async def start(stage, stack):
    """Control, endpoints, proxies and loads. Returns (control, loads)."""
    for number in range(ENDPOINTS):
        program = await selfcheck.Program.launch(
            stage.folder, f"endpoint-{number}", "stdout", sys.executable, HERE / "endpoint.py"
        )
        stage.programs.append(program)
        stage.endpoints[f"server-{number}"] = (program, await program.first())
    control = control_stage.Control(stage, {"server": ("http", 5000, [*stage.endpoints])})
    control.write()
    await control.start()
    loads = []
    for caller in ("web", "worker"):
        folder = stage.folder / f"state-{caller}"
        os.environ["OTEL_SERVICE_NAME"] = caller  # of the program that is started now
        try:
            _, up = await stage.bowline(
                "proxy",
                "run",
                "--control",
                f"http://{control.listen}",
                "--namespace",
                control_stage.NAMESPACE,
                "--node-id",
                caller,
                "--outbound",
                "127.0.0.1:0",
                "--admin",
                "127.0.0.1:0",
                "--no-vip-listeners",
                "--state-dir",
                folder,
            )
        finally:
            del os.environ["OTEL_SERVICE_NAME"]
        await control_stage.answers(f"{caller} to reach an endpoint", URL, 200, proxy=up["outbound"])
        loads.append(Load(up["outbound"]))
        stack.append(loads[-1].end)
    return control, loads


async def look(seen, stage, loads):
    """What the page shows of it, before and after an endpoint is killed."""
    page = seen.page
    await seen.until(
        "both callers in the map",
        """["web → server: ", "worker → server: "].every((call) =>
          [...document.querySelectorAll(".call title")].some((one) => one.textContent.startsWith(call)))""",
    )
    await seen.until("the endpoints", "document.querySelectorAll('#endpoints tbody tr').length === 5")
    await seen.until("a rate", "Number(document.getElementById('figure-rate').textContent) > 30")
    await seen.until(
        "a latency", "/p99 [\\d.]+ m?s/.test(document.querySelector('.node[data-kind=service] .line').textContent)"
    )
    await seen.shot("real-before")
    name = next(iter(stage.endpoints))
    program, address = stage.endpoints[name]
    await program.stop(kill=True)
    script = """(address) => [...document.querySelectorAll('#endpoints tbody tr')].some((row) =>
      row.textContent.includes(address) && /ejected|failing|failed/.test(row.textContent))"""
    took = await seen.until("the killed endpoint", script, address)
    expect(f"{address}, killed, is shown as ejected or failed after seconds (target 2)", round(took, 2), True)
    more = await seen.until(
        "the reason",
        """(address) => [...document.querySelectorAll('#failures-list li')].some((row) =>
      row.textContent.includes(address) && row.querySelector('strong').textContent !== 'ejected')""",
        address,
    )
    reasons = await page.locator("#failures-list li").all_inner_texts()
    expect("its failure with the reason, after seconds more", round(more, 2), True)
    print(f"    {reasons[:3]}", flush=True)
    more = await seen.until(
        "the announcement",
        "(address) => document.getElementById('change').textContent.includes(`${address} of server is ejected`)",
        address,
    )
    expect("announced after seconds more", round(more, 2), True)
    await seen.shot("real-killed")
    await page.fill("#explain-url", URL)
    await page.keyboard.press("Enter")
    await seen.until(
        "the explanation",
        "(address) => document.getElementById('explain-answer').textContent.includes(address)",
        address,
    )
    await seen.until("two points of the history", "document.querySelector('.charts').checkVisibility()", within=60)
    await seen.shot("real-explained")
    # The app has noticed nothing: GET may be tried again.
    for load in loads:
        answers = await load.end()
        expect("answers to the app", answers, set(answers) == {"200"})


async def run(browser, shots, control_program, proxy_program):
    """Runs it; raises `Failed` if it was not so."""
    with tempfile.TemporaryDirectory() as folder:
        stage = control_stage.Stage(Path(folder), {"control": control_program, "proxy": proxy_program})
        ends = []
        try:
            control, loads = await start(stage, ends)
            async with visit(browser, f"http://{control.admin}/ui#service=server", shots) as seen:
                await look(seen, stage, loads)
                await seen.check_contrast("real")
                await seen.check_width("real")
            async with visit(browser, f"http://{control.admin}/", shots, width=360, height=780, scheme="dark") as seen:
                await seen.check_width("real, narrow")
                await seen.shot("real-narrow")
        except selfcheck.Failed as error:
            raise Failed(str(error)) from error
        finally:
            for end in ends:
                await end()
            await stage.end()
