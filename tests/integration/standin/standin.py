"""Stands in for `xdit-worker` where only the operator is under test: job file in, /progress, result and exit code out.

"Images" are empty files on the output volume, so that they outlive pods and attempts, as real ones do. Steered by
STANDIN, JSON in the container's environment, every key optional:

    seconds   per image (default 0.2)
    fail      {"code": 66, "reason": "InvalidModel", "message": "…", "attempts": 1, "replica": 0, "after": 0}: end like
              this in the first `attempts` attempts (default all) of that replica (default all), after so many images
    silent    true: a failing worker writes no result
    hold      true: never end
    idle      replica that finds nothing to claim
"""

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

JOB = json.loads(Path(os.environ["XDIT_JOB"]).read_text())
REPLICA, ATTEMPT = int(os.environ["XDIT_REPLICA"]), int(os.environ["XDIT_ATTEMPT"])
LEADER = os.environ["NODE_RANK"] == "0"
STEER = json.loads(os.environ.get("STANDIN", "{}"))
OUTPUT = Path(JOB["output"]["path"])
LIFE = Path("/xdit/life/result.json")
END = OUTPUT / f".end-{JOB['uid'][:8]}-{REPLICA}-{ATTEMPT}"
stopping = threading.Event()
made = 0
last = ""


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def names() -> list[str]:
    lines = [line for line in Path(JOB["prompts"]["path"]).read_text().splitlines() if line.strip()]
    out = []
    for number, line in enumerate(lines, 1):
        record = json.loads(line) if JOB["prompts"]["format"] == "jsonl" else {}
        out.append(str(record.get("id", f"{number:06d}")))
    return out


def counts() -> dict[str, int]:
    done = len(list((OUTPUT / "images").glob("*"))) if (OUTPUT / "images").exists() else 0
    return {"total": len(names()), "completed": done, "failed": 0, "skipped": 0}


def result(outcome: str, code: int, reason: str, message: str) -> dict[str, object]:
    return {
        "outcome": outcome, "exitCode": code, "reason": reason, "message": message, "jobUid": JOB["uid"], "replica": REPLICA,
        "attempt": ATTEMPT, "pod": os.environ["POD_NAME"], "time": now(), "counts": counts(),
        "logPath": f"{JOB['output']['volumePath']}/.xdit/logs/{REPLICA}-{ATTEMPT}-{os.environ['POD_NAME']}.log",
    }  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/healthz":
            body: dict[str, object] = {"ok": True}
        else:
            lane = {"index": 0, "phase": "Generating", "completed": made, "secondsPerImage": STEER.get("seconds", 0.2)}
            body = {
                "jobUid": JOB["uid"], "replica": REPLICA, "attempt": ATTEMPT, "phase": "Parked" if LIFE.exists() else "Running",
                "counts": counts(), "lanes": [lane], **({"lastProgressTime": last} if last else {}),
            }  # fmt: skip
        raw = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def end(said: dict[str, object]) -> None:
    """The first life's result, kept for later lives."""
    text = json.dumps(said)
    LIFE.write_text(text)
    if LEADER:
        END.write_text(text)
    Path("/dev/termination-log").write_text(text)
    print(text)
    sys.exit(int(str(said["exitCode"])))


def park() -> None:
    stopping.wait()
    text = LIFE.read_text()
    Path("/dev/termination-log").write_text(text)
    sys.exit(json.loads(text)["exitCode"])


def fail_now() -> bool:
    fail = STEER.get("fail")
    return (
        fail is not None
        and fail.get("attempts", 10**6) > ATTEMPT
        and fail.get("replica", REPLICA) == REPLICA
        and made >= fail.get("after", 0)
    )


def follow() -> None:
    """Pods without rank 0 end as their leader does."""
    while not END.exists():
        if stopping.wait(0.2):
            end(result("stopped", 21, "Stopped", ""))
    said = json.loads(END.read_text())
    if said["exitCode"]:
        end(result("failed", 20, "PeerLost", "the leader ended"))
    end(result(said["outcome"], 0, said["reason"], ""))


def draw() -> None:
    global made, last
    images = OUTPUT / "images"
    images.mkdir(parents=True, exist_ok=True)
    if STEER.get("idle") == REPLICA:
        time.sleep(1)
        end(result("idle", 0, "Ok", ""))
    for name in [*names(), None]:
        if fail_now():
            fail = STEER["fail"]
            if STEER.get("silent"):
                print(fail["message"], flush=True)
                LIFE.write_text(json.dumps({"exitCode": fail["code"]}))
                os._exit(fail["code"])
            end(result("failed", fail["code"], fail["reason"], fail["message"]))
        if name is None or (images / name).exists():
            continue
        if stopping.wait(STEER.get("seconds", 0.2)):
            end(result("stopped", 21, "Stopped", ""))
        try:
            (images / name).touch(exist_ok=False)
            made += 1
            last = now()
        except FileExistsError:
            pass
    while STEER.get("hold"):
        if stopping.wait(1):
            end(result("stopped", 21, "Stopped", ""))
    end(result("drained", 0, "Ok", ""))


signal.signal(signal.SIGTERM, lambda *_: stopping.set())
threading.Thread(target=ThreadingHTTPServer(("", 8080), Handler).serve_forever, daemon=True).start()
if LIFE.exists():
    park()
elif LEADER:
    draw()
else:
    follow()
