"""A job that is stopped: what a training saves first, and what ends the wait for it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hw2 import stopping
from hw2.data.files import read_json
from hw2.errors import StorageError
from hw2.events import Begun, Kept, Row, Saved
from hw2.gradients import Place
from hw2.settings.training import TrainConfig
from hw2.stopping import WANTED, WANTS, Asked
from hw2.training import Training, train
from tests.jobs.command import bits
from tests.test_config import REPOSITORY, start
from tests.test_training import finish
from tests.toy import PairSource, noisy_error, toy_net, toy_train

LOSS = {"eval/loss": 0.5}
FIRST = "stopping: a checkpoint is saved first (Ctrl-C: at once)\n"
BEGIN = """
import os, signal, time
from pathlib import Path
from hw2 import stopping
from hw2.stopping import Asked, saving_first
asked = Asked(Path())
with saving_first(Path()):
    asked()
    print("ready", flush=True)
    while not asked():
        time.sleep(0.02)
    {}
print("not stopped")
"""
ENDING = """
import atexit, time
def linger():  # as Ray and torch do
    print("ready", flush=True)
    time.sleep({seconds})
    print("left")
atexit.register(linger)
"""
STOPS = [
    (signal.SIGTERM, 143, "stopped by SIGTERM\n"),
    (signal.SIGHUP, 129, "stopped by SIGHUP\n"),
    (signal.SIGINT, 130, "stopped by Ctrl-C\n"),
]


def ready(folder: Path, body: str) -> subprocess.Popen[str]:
    """A job that runs `body`, which has said that it is ready."""
    process = start(folder, body, "--out", "x")
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def begin(folder: Path, then: str) -> subprocess.Popen[str]:
    return ready(folder, BEGIN.format(then))


@pytest.mark.parametrize(
    "then",
    [
        "print('saved', flush=True); asked.answer(); time.sleep(60)",
        "print('saved')",  # and trained to the end
        "print('saved'); raise RuntimeError('of Ray, whose processes got the signal too')",
    ],
    ids=["saved", "done", "failed"],
)
@pytest.mark.parametrize(("number", "code", "said"), STOPS)
def test_a_training_saves_and_then_stops(
    tmp_path: Path, then: str, number: signal.Signals, code: int, said: str
) -> None:
    process = begin(tmp_path, then)
    process.send_signal(number)
    assert process.communicate(timeout=60) == ("saved\n", FIRST + said)
    assert process.returncode == code


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    process = begin(tmp_path, "time.sleep(60)")
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None and process.stderr.readline() == FIRST
    process.send_signal(signal.SIGTERM)  # `timeout` sends two
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert process.communicate(timeout=60) == ("", "stopped by Ctrl-C\n")
    assert process.returncode == 130 and time.monotonic() - began < 10


@pytest.mark.parametrize("number", [number for number, *_ in STOPS])
def test_a_job_at_its_end_is_stopped_no_more(tmp_path: Path, number: signal.Signals) -> None:
    process = ready(tmp_path, ENDING.format(seconds=1))
    process.send_signal(number)
    assert process.communicate(timeout=60) == ("left\n", "")
    assert process.returncode == 0


def test_a_job_that_does_not_come_to_its_end_is_ended(tmp_path: Path) -> None:
    process = ready(tmp_path, ENDING.format(seconds=60))
    time.sleep(stopping.AGAIN_SECONDS + 0.2)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=10) == ("", "")
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("package", "code", "said"),
    [("pydantic", -signal.SIGINT, ""), ("torch", 130, "stopped by Ctrl-C\n")],
    ids=["of its settings", "of its work"],
)
def test_ctrl_c_during_the_imports_of_a_job_shows_no_traceback(
    tmp_path: Path, package: str, code: int, said: str
) -> None:
    module = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    (tmp_path / f"{package}.py").write_text(module)
    words = ["--config", "jobs/configs/demo.yaml", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "jobs.train_ddpm", *words],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "", said)
    assert not (tmp_path / "out").exists()


LOADING = """
import time
try:
    print("ready", flush=True)
    time.sleep(60)
except BaseException as error:
    raise ModuleNotFoundError("Could not import module 'CLIPTextModel'.") from error
"""


@pytest.mark.parametrize(("number", "code", "said"), STOPS)
def test_a_library_that_makes_another_error_of_a_stop_hides_it_not(
    tmp_path: Path, number: signal.Signals, code: int, said: str
) -> None:
    process = ready(tmp_path, LOADING)
    process.send_signal(number)
    assert process.communicate(timeout=60) == ("", said)
    assert process.returncode == code


def test_who_does_not_save_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")  # as of a submitted job
    process = begin(tmp_path, "time.sleep(60)")
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60) == ("", FIRST + "stopped by SIGTERM\n")
    assert process.returncode == 143 and time.monotonic() - began >= 1


NOT_BEGUN = """
import time
from pathlib import Path
from hw2.stopping import saving_first
with saving_first(Path()):
    print("ready", flush=True)
    time.sleep(60)
"""


SAVED_ALL = """
import time
from pathlib import Path
from hw2.stopping import Asked, saving_first
with saving_first(Path()):
    asked = Asked(Path())
    asked()
    asked.answer()  # as after the last step
    print("ready", flush=True)
    time.sleep(60)  # a sheet is drawn
"""


ENDED = """
import time
from pathlib import Path
from hw2.stopping import Asked, nobody_hears, saving_first
with saving_first(Path()):
    asked = Asked(Path())
    asked()
    nobody_hears(Path())  # as a node was lost, and Ray ends the other workers
    asked._looked = 0.0
    asked()  # which compute until then
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("body", "number", "code", "said"),
    [(NOT_BEGUN, *stop) for stop in STOPS] + [(SAVED_ALL, *STOPS[0]), (ENDED, *STOPS[0])],
)
def test_nothing_is_waited_for_while_nobody_would_save(
    tmp_path: Path, body: str, number: signal.Signals, code: int, said: str
) -> None:
    process = ready(tmp_path, body)
    began = time.monotonic()
    process.send_signal(number)
    assert process.communicate(timeout=60) == ("", said)
    assert process.returncode == code and time.monotonic() - began < stopping.PATIENCE_SECONDS / 2
    assert not (tmp_path / WANTED).exists()


def test_a_stop_that_waits_goes_on_when_the_workers_are_ended(tmp_path: Path) -> None:
    process = begin(tmp_path, "stopping.nobody_hears(Path()); time.sleep(60)")
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60) == ("", FIRST + "stopped by SIGTERM\n")
    assert process.returncode == 143
    assert time.monotonic() - began < stopping.PATIENCE_SECONDS / 2


def test_whoever_begins_after_them_is_heard(tmp_path: Path) -> None:
    (tmp_path / WANTED).touch()
    for _ in range(2):
        Asked(tmp_path)()
        assert (tmp_path / WANTED).read_bytes() == stopping.HEARS
        stopping.nobody_hears(tmp_path)
        assert (tmp_path / WANTED).read_bytes() == b""


HEARD_LATE = """
import time
from pathlib import Path
from hw2.stopping import HEARS, WANTED, put, saving_first
with saving_first(Path()):
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:  # as Ray is shut down, a worker begins
        put(Path(WANTED), HEARS)
        print("ending", flush=True)
        time.sleep(60)
"""


def test_ctrl_c_ends_the_end_of_a_stop_at_once(tmp_path: Path) -> None:
    process = ready(tmp_path, HEARD_LATE)
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None and process.stdout.readline() == "ending\n"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "stopped by SIGTERM\n")
    assert time.monotonic() - began < 30


def test_a_word_is_put_in_place_and_makes_no_file(tmp_path: Path) -> None:
    file = tmp_path / WANTED
    Asked(tmp_path)()
    assert not file.exists()
    file.write_bytes(b"")
    with file.open("rb") as open_before:
        Asked(tmp_path)()
        assert open_before.read() == stopping.HEARS
        stopping.put(file, WANTS)
        open_before.seek(0)
        assert open_before.read() == WANTS and Asked(tmp_path)()


def test_what_ended_a_training_comes_out_where_its_file_cannot_go(tmp_path: Path) -> None:
    with pytest.raises(ArithmeticError), stopping.saving_first(tmp_path):
        (tmp_path / WANTED).unlink()
        (tmp_path / WANTED).mkdir()  # which cannot be unlinked
        raise ArithmeticError


def test_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_STOP_WAIT_TIME_S", "30")
    assert stopping._patience() == 20
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert stopping._patience() == 10
    monkeypatch.setenv("RAY_JOB_STOP_WAIT_TIME_S", "600")
    assert stopping._patience() == 20
    monkeypatch.delenv("RAY_JOB_STOP_WAIT_TIME_S")
    assert stopping._patience() == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_was_ignored_stays_so(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_IGN)  # as of `nohup job &`
    try:
        process = begin(tmp_path, "asked.answer(); time.sleep(60)")
    finally:
        signal.signal(number, before)
    process.send_signal(number)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60) == ("", FIRST + "stopped by SIGTERM\n")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    finish(out)
    return out


@pytest.mark.parametrize("stop", range(1, 12))
def test_a_run_that_is_asked_saves_between_steps_and_does_none_twice(
    stop: int, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "LOOK_SECONDS", 0.0)
    for event in toy_train(tmp_path):
        if isinstance(event, Row) and event.step == stop:
            (tmp_path / WANTED).write_bytes(WANTS)
        if isinstance(event, Row) and event.step == stop + 1:
            break
    assert (tmp_path / WANTED).read_bytes() == b"done"
    newest = max((tmp_path / "checkpoints").glob("step_*")).name
    assert newest == f"step_{stop:08d}"
    rows = finish(tmp_path)
    assert [row.step for row in rows] == list(range(stop + 1, 13))
    assert bits(tmp_path) == bits(undisturbed)


def test_a_machine_that_is_about_to_go_costs_nothing_that_was_done(
    undisturbed: Path, tmp_path: Path
) -> None:
    """Worker 0 saves at the notice and again; the others, whom nobody asks, go on."""
    answers = iter([False, True, False, False, True])
    place = Place(leaving=lambda: next(answers))
    kept = []
    for event in toy_train(tmp_path, place):
        if isinstance(event, Kept):
            kept.append(event.step)
            assert (tmp_path / f"checkpoints/step_{event.step:08d}").is_dir()
        if isinstance(event, Row) and event.step == 5:
            break
    assert kept == [1, 4]
    assert [row.step for row in finish(tmp_path)] == list(range(5, 13))
    assert bits(tmp_path) == bits(undisturbed)


def test_after_its_last_checkpoint_a_training_asks_for_no_patience(tmp_path: Path) -> None:
    (tmp_path / WANTED).touch()
    for event in toy_train(tmp_path):
        if isinstance(event, Saved):
            there = stopping.HEARS if event.step < 12 else stopping.ANSWERED
            assert (tmp_path / WANTED).read_bytes() == there


def test_a_checkpoint_keeps_its_score_when_asked_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the best would not be known any more, and be removed."""
    monkeypatch.setattr(stopping, "LOOK_SECONDS", 0.0)
    config = TrainConfig(num_steps=9, batch_size=8, checkpoint_every=3, precision="fp32")
    training = Training(
        toy_net(), noisy_error, PairSource(), config, 5, tmp_path, evaluate=lambda net: LOSS
    )
    for at in (3, 3, 6):  # behind the first, before any step of a start, behind the next
        for event in train(training):
            if isinstance(event, Begun | Saved) and event.step == at:
                (tmp_path / WANTED).write_bytes(WANTS)
            if isinstance(event, Row) and event.step == at + 1:
                break
        assert (tmp_path / WANTED).read_bytes() == b"done"
        kept = read_json(tmp_path / f"checkpoints/step_{at:08d}/manifest.json")
        assert kept["score"] == LOSS["eval/loss"]


def test_weights_that_are_no_numbers_are_not_saved_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class AtTheThirdLook(Asked):
        looks = 0

        def __call__(self) -> bool:
            self.looks += 1
            return self.looks == 3

    monkeypatch.setattr("hw2.training.Asked", AtTheThirdLook)
    (tmp_path / WANTED).touch()
    with pytest.raises(ArithmeticError):
        list(toy_train(tmp_path, learning_rate=1e38, checkpoint_every=12, log_every=12))
    assert (tmp_path / WANTED).read_bytes() == b"done"
    assert not (tmp_path / "checkpoints").exists()


def test_a_lost_row_is_not_gone_past_by_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "LOOK_SECONDS", 0.0)
    events = toy_train(tmp_path)
    for event in events:
        if isinstance(event, Row) and event.step == 4:
            (tmp_path / WANTED).write_bytes(WANTS)
            events.throw(StorageError("the row is lost"))
            break
    next(events)
    assert (tmp_path / WANTED).read_bytes() == b"done"
    assert max((tmp_path / "checkpoints").glob("step_*")).name == "step_00000003"
