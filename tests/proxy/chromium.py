"""Headless Chromium, driven over a pipe by its DevTools protocol."""

import itertools
import json
import os
import select
import shutil
import tempfile
import time

from harness import scaled
from harness.proc import end, spawn

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
          "--disable-background-networking", "--disable-component-update", "--disable-sync",
          "--disable-dev-shm-usage", "--ignore-certificate-errors", "--remote-debugging-pipe"]


class Chromium:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="tk-chromium-")
        commands, self._out = os.pipe()
        self._in, answers = os.pipe()
        # It reads commands from descriptor 3, and writes to 4.
        script = f'exec "$@" 3<&{commands} 4>&{answers}'
        with open(os.path.join(self.dir, "log"), "wb") as log:
            self.process = spawn(["bash", "-c", script, "chromium", PROGRAM, *_FLAGS,
                                  f"--user-data-dir={self.dir}/profile"], stdout=log, stderr=log,
                                 pass_fds=(commands, answers))
        os.close(commands)
        os.close(answers)
        self._ids = itertools.count(1)
        self._buffer = b""
        self.pages = {}

    def call(self, method, session=None, **params):
        """What Chromium answers to a command. What else it says meanwhile goes to the pages."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + scaled(20)
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            if answer.get("sessionId") in self.pages:
                self.pages[answer["sessionId"]].notice(answer)

    def _receive(self, deadline):
        while b"\0" not in self._buffer:
            ready = select.select([self._in], [], [], max(0, deadline - time.monotonic()))[0]
            assert ready, "Chromium does not answer"
            chunk = os.read(self._in, 1 << 16)
            assert chunk, "Chromium has ended"
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def page(self, url):
        return Page(self, url)

    def stop(self):
        end(self.process)
        os.close(self._out)
        os.close(self._in)
        shutil.rmtree(self.dir, ignore_errors=True)


# Opens event sources, and writes down what each of them sees.
_RECORDER = """
window.seen = [];
window.listen = (urls) => urls.forEach((url, n) => {
  const source = new EventSource(url);
  const log = [];
  seen[n] = {log, get state() { return source.readyState; }};
  const note = ({type, data, lastEventId}) => log.push({type, data, id: lastEventId});
  for (const type of ['message', 'tickerd:open', 'tickerd:gap']) source.addEventListener(type, note);
  source.onerror = () => log.push({type: 'error', state: source.readyState});
});
"""
CLOSED = 2


class Page:
    """A tab. `answers` is how the network answered: type, status and protocol of each response."""

    def __init__(self, browser, url):
        self.browser = browser
        self.answers = []
        self.target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=self.target,
                                    flatten=True)["sessionId"]
        browser.pages[self.session] = self
        for domain in ("Page", "Network", "Runtime"):
            self._call(f"{domain}.enable")
        self._call("Page.addScriptToEvaluateOnNewDocument", source=_RECORDER)
        failed = self._call("Page.navigate", url=url).get("errorText")
        assert not failed, f"{url}: {failed}"
        self.wait(lambda: self.evaluate("document.readyState === 'complete' && !!window.listen"),
                  "the page")

    def _call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def notice(self, message):
        if message["method"] == "Network.responseReceived":
            response = message["params"]["response"]
            self.answers.append({"type": message["params"]["type"], "status": response["status"],
                                 "protocol": response["protocol"], "url": response["url"],
                                 "connection": response["connectionId"]})

    def evaluate(self, expression):
        done = self._call("Runtime.evaluate", expression=expression, returnByValue=True,
                          awaitPromise=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def listen(self, urls):
        """Open an EventSource on each, and wait for their tickerd:open."""
        self.evaluate(f"listen({json.dumps(urls)})")
        self.wait(lambda: all(self.types(n)[:1] == ["tickerd:open"] for n in range(len(urls))),
                  "tickerd:open")

    def log(self, n):
        """What the EventSource of this number has seen."""
        return self.evaluate(f"seen[{n}].log")

    def types(self, n):
        return [entry["type"] for entry in self.log(n)]

    def data(self, n):
        return [entry["data"] for entry in self.log(n) if entry["type"] == "message"]

    def gave_up(self, n):
        return self.evaluate(f"seen[{n}].state") == CLOSED

    def wait(self, condition, what, timeout=15):
        deadline = time.monotonic() + scaled(timeout)
        while not condition():
            assert time.monotonic() < deadline, \
                f"still not: {what}\n{self.evaluate('window.seen')}\n{self.answers}"
            time.sleep(0.02)

    def stop(self):
        self.browser.pages.pop(self.session)
        self.browser.call("Target.closeTarget", targetId=self.target)
