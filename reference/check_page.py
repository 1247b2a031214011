"""Opens a report in headless Chromium and checks what only a browser can tell.

    python3 reference/check_page.py PAGE/index.html [SHOTS]

Two widths (390 and 1280 pixels), light and dark: no console message, no exception, no request beyond the file, no
sideways scrolling of the page, a contrast of 4.5 (3 for large text) between every text and its ground (WCAG 2.1 AA),
a name for every picture and every table, all of it with what is folded away unfolded. Screenshots, as the page opens, go
to SHOTS. Needs `chromium` (apt-get install chromium) and nothing else; CHROMIUM names another binary.
Talks the DevTools protocol over a pipe.
"""

import base64
import json
import os
import pathlib
import subprocess
import sys
import tempfile

PROBE = r"""
(() => {
  // What is folded away is looked at too.
  const folded = document.querySelectorAll('details:not([open])');
  for (const e of folded) e.open = true;
  const rgb = (text) => { const n = text.match(/[\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const light = (c) => c.slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] > 0.99) return c; }
    return [255, 255, 255, 1]; };
  const problems = [], worst = { ratio: 21 };
  const seen = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, e = node.parentElement;
    if (!node.data.trim() || !e || ['TITLE', 'DESC', 'STYLE'].includes(e.tagName.toUpperCase())) continue;
    if (!e.getClientRects().length) continue;
    const style = getComputedStyle(e);
    const ink = rgb(e instanceof SVGElement ? style.fill : style.color), paper = ground(e);
    const key = ink + '|' + paper + '|' + style.fontSize;
    if (seen.has(key)) continue;
    seen.add(key);
    const [a, b] = [light(ink), light(paper)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    if (ratio < worst.ratio) Object.assign(worst, { ratio, text: node.data.trim().slice(0, 40) });
    if (ratio < (size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5))
      problems.push(`contrast ${ratio.toFixed(2)} of "${node.data.trim().slice(0, 40)}"`);
  }
  for (const e of document.querySelectorAll('svg:not([aria-hidden])'))
    if (!(e.getAttribute('aria-labelledby') || '').split(' ').every((id) => document.getElementById(id)?.textContent.trim()))
      problems.push('a picture without a name');
  for (const e of document.querySelectorAll('table')) if (!e.caption?.textContent.trim()) problems.push('a table without a caption');
  const root = document.scrollingElement;
  if (root.scrollWidth > innerWidth + 1) problems.push(`the page is ${root.scrollWidth} wide, the window ${innerWidth}`);
  // Sizes of letters in pictures, as they are shown.
  let least = 99;
  for (const t of document.querySelectorAll('svg.figure text')) {
    const svg = t.ownerSVGElement, box = svg.getBoundingClientRect();
    if (box.width) least = Math.min(least, parseFloat(getComputedStyle(t).fontSize) * box.width / svg.viewBox.baseVal.width);
  }
  if (least < 8) problems.push(`letters of ${least.toFixed(1)} pixels in a picture`);
  for (const e of folded) e.open = false;
  return { problems, worst, height: root.scrollHeight, least };
})()
"""


class Browser:
    """Chromium behind a pipe."""

    def __init__(self, folder):
        to_read, self.writer = os.pipe()
        self.reader, to_write = os.pipe()

        def place():
            # Whatever the numbers are, 3 is read and 4 is written.
            low, high = os.dup(to_read), os.dup(to_write)
            os.dup2(low, 3)
            os.dup2(high, 4)

        binary = os.environ.get("CHROMIUM", "chromium")
        command = [binary, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
        command += [f"--user-data-dir={folder}", "about:blank"]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, preexec_fn=place, close_fds=False, **quiet)
        os.close(to_read)
        os.close(to_write)
        self.buffer, self.number, self.events, self.session = b"", 0, [], None

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writer, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def read(self):
        while b"\0" not in self.buffer:
            part = os.read(self.reader, 1 << 20)
            if not part:
                raise RuntimeError("the browser ended")
            self.buffer += part
        line, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(line)

    def wait(self, method):
        while True:
            for i, event in enumerate(self.events):
                if event.get("method") == method:
                    return self.events.pop(i)
            self.events.append(self.read())


def look(browser, page, width, scheme, shots):
    """One width and colour scheme: problems found."""
    browser.events.clear()
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.call("Page.navigate", url=page.as_uri())
    browser.wait("Page.loadEventFired")
    result = browser.call("Runtime.evaluate", expression=PROBE, returnByValue=True)["result"]["value"]
    problems = result["problems"]
    for event in browser.events:
        method, params = event.get("method"), event.get("params", {})
        if method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            problems.append(f"{method}: {json.dumps(params)[:200]}")
        if method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if url != page.as_uri() and not url.startswith("data:"):
                problems.append(f"a request for {url}")
    if shots:
        height = min(result["height"], 16000)
        browser.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        shot = browser.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        (shots / f"{width}-{scheme}.png").write_bytes(base64.b64decode(shot["data"]))
    worst = result["worst"]
    print(f"{width} {scheme}: height {result['height']}, least contrast {worst['ratio']:.2f} ({worst.get('text')}), "
          f"least letters in pictures {result['least']:.1f} px, {len(problems)} problems")
    return problems


def main():
    page = pathlib.Path(sys.argv[1]).resolve()
    shots = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
    if shots:
        shots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        browser = Browser(folder)
        try:
            target = browser.call("Target.createTarget", url="about:blank")["targetId"]
            browser.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                browser.call(f"{domain}.enable")
            found = [
                f"{width} {scheme}: {problem}"
                for width in (390, 1280)
                for scheme in ("light", "dark")
                for problem in look(browser, page, width, scheme, shots)
            ]
        finally:
            browser.process.terminate()
            browser.process.wait()
    print("\n".join(found) if found else "no problems")
    sys.exit(1 if found else 0)


main()
