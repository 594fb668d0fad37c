"""moto's own tests of EventBridge, SQS and CloudWatch Logs, unmodified, against `fakemon serve --dev`: how many pass.

moto can run its tests against a server instead of itself (`TEST_SERVER_MODE`); here the server is ours, and what empties
moto's server between two tests is `POST /_reset`. Tests that ask no server, because they look into moto itself, are not
counted. `make foreign` runs this; packages and tests are kept in a directory, so that only the first run needs the network.

    python3 tests/foreign.py FAKEMON DIRECTORY [SUITE ...]
"""

import os, pathlib, subprocess, sys, tarfile, tempfile, xml.etree.ElementTree

MOTO = "5.2.5"
PACKAGES = [f"moto[all]=={MOTO}", "freezegun", "pytest", "pytest-timeout"]
SUITES = ["events", "sqs", "logs"]
# A test that takes longer waits for something that does not come.
SECONDS_MAX = 60


def pytest_configure(config):
    """pytest calls this where this file is a plugin of it."""
    import requests
    from botocore.httpsession import URLLib3Session
    from moto.core.models import ServerModeMockAWS

    def reset(mock):
        requests.post(os.environ["TEST_SERVER_MODE_ENDPOINT"] + "/_reset").raise_for_status()

    def send(session, request, plain=URLLib3Session.send):
        config.asked += 1
        return plain(session, request)

    config.asked, ServerModeMockAWS.reset, URLLib3Session.send = 0, reset, send


def pytest_runtest_setup(item):
    item.config.asked = 0


def pytest_runtest_teardown(item):
    item.user_properties.append(("asked", item.config.asked))


def prepare(directory):
    """The packages and moto's source, in a directory: from the network if they are not there."""
    packages, source = directory / f"packages-{MOTO}", directory / f"moto-{MOTO}"
    if not source.exists():
        pip = [sys.executable, "-m", "pip"]
        subprocess.run([*pip, "install", "--quiet", "--upgrade", "--target", packages, *PACKAGES], check=True)
        download = [*pip, "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", directory]
        subprocess.run([*download, f"moto=={MOTO}"], check=True)
        with tarfile.open(directory / f"moto-{MOTO}.tar.gz") as archive:
            archive.extractall(directory, filter="data")
    return packages, source


def serve(fakemon, data):
    """A server on free ports, and its control address."""
    arguments = ["serve", "--dev", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--data", data]
    log = open(data.parent / "log", "w")
    server = subprocess.Popen([fakemon, *arguments], stdout=subprocess.PIPE, stderr=log, text=True)
    return server, server.stdout.readline().split("control=")[1].strip()


def run(suite, packages, source, control):
    """The tests of one suite: their names, each with why it failed, or how it ended."""
    with tempfile.NamedTemporaryFile(suffix=".xml") as report:
        own = pathlib.Path(__file__).resolve().parent
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "PYTHONPATH": f"{packages}:{own}",
            "TEST_SERVER_MODE": "true",
            "TEST_SERVER_MODE_ENDPOINT": control,
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        options = ["-q", "-p", "foreign", "--timeout", str(SECONDS_MAX), "--junitxml", report.name]
        command = [sys.executable, "-m", "pytest", *options, f"tests/test_{suite}"]
        subprocess.run(command, cwd=source, env=environment, stdout=subprocess.DEVNULL)
        cases = list(xml.etree.ElementTree.parse(report.name).iter("testcase"))
    outcomes = {}
    for case in cases:
        ended = {child.tag: child for child in case if child.tag in ("failure", "error", "skipped")}
        name = case.get("classname").removeprefix(f"tests.test_{suite}.") + "::" + case.get("name")
        wrong = ended.get("failure") if "failure" in ended else ended.get("error")
        assert (ended.get("error") is None) or ended["error"].get("message") != "collection failure", case.get("name")
        asked = [int(held.get("value")) for held in case.iter("property") if held.get("name") == "asked"]
        if "skipped" in ended or sum(asked) == 0:
            outcomes[name] = "not counted"
            continue
        first_line = lambda element: (element.get("message") or "").strip().split("\n")[0]
        outcomes[name] = "passed" if wrong is None else f"failed: {first_line(wrong)}"
    return outcomes


def main(fakemon, directory, *suites):
    directory = pathlib.Path(directory).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    packages, source = prepare(directory)
    lines = []
    with tempfile.TemporaryDirectory() as scratch:
        server, control = serve(fakemon, pathlib.Path(scratch) / "data")
        try:
            for suite in suites or SUITES:
                outcomes = run(suite, packages, source, control)
                count = lambda how: sum(outcome.startswith(how) for outcome in outcomes.values())
                for name, outcome in outcomes.items():
                    if outcome.startswith("failed"):
                        print(f"{suite} {name} {outcome}")
                asked = count("passed") + count("failed")
                lines.append(f"{suite}: {count('passed')} of {asked} pass; {count('not counted')} ask no server")
                assert server.poll() is None, "the server ended"
        finally:
            server.terminate()
            server.wait()
    print(f"moto {MOTO}", *lines, sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
