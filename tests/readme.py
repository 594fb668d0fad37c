"""The blocks of the README, pasted one after the other, as a reader does: those in Python line by line into one session,
those for the shell into one that stops at the first command that fails. Of addresses only the ports are others."""

import code, contextlib, io, os, re, subprocess, sys


class Session(code.InteractiveConsole):
    """One that ends with what goes wrong in it."""

    def showtraceback(self):
        raise

    def showsyntaxerror(self, *_, **__):
        raise


readme, control, play = sys.argv[1:4]
blocks = re.findall(r"^```(sh|python)\n(.*?)^```$", open(readme, encoding="utf-8").read(), re.M | re.S)
session, said = Session(), io.StringIO()
for language, block in blocks:
    if block.startswith("make "):
        continue  # that is how what runs here was built
    block = block.replace("http://127.0.0.1:7401", control).replace("ws://127.0.0.1:7400", play)
    print(block, flush=True)
    if language == "python":
        with contextlib.redirect_stdout(said):
            for line in [*block.splitlines(), ""]:
                is_open = session.push(line)
        assert not is_open, "the block ends in the middle"
    else:
        # The client of the tests comes without its script.
        client = 'aws() { python3 -m awscli "$@"; }\n'
        shell = subprocess.run(["bash", "-euo", "pipefail", "-c", client + block], stdout=subprocess.PIPE, text=True)
        print(shell.stdout, flush=True)
        shell.check_returncode()
        if "filter-log-events" in block:
            assert '"eventId"' in shell.stdout, "the log group shows what happened since it was made"
said = said.getvalue()
print(said)
assert "'outcome': 'captured'" in said, "the websocket client caught something"
assert '"detail-type":"fakemon.capture_succeeded"' in said, "the queue got an event"
for path in ["copy", "trace.json", "report.html", "events.parquet"]:
    assert os.path.exists(path), path
assert len(blocks) >= 9, "the blocks were found"
print("as it should be")
