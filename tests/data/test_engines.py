"""Engines: where shards are made must not show in them, whatever dies on the way."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_up import made_up_pictures

from t2icli.data.build import Workforce
from t2icli.data.engines import pool
from t2icli.data.engines import ray as ray_engine
from t2icli.data.plan import Settings, Task
from t2icli.data.source import Record
from t2icli.errors import DiskFull, EnvironmentFault, OutOfMemory, RecipeError
from t2icli.recipe import Images, TextEncoder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".lock"}


def test_an_engine_that_is_none(prepared, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="engines: there is no 'rey'; did you mean 'ray'"):
        prepared(pictures, tmp_path / "out", engine="rey")


def test_without_ray(prepared, pictures: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EnvironmentFault, match=r"Ray is not installed; pip install 't2icli\[ray\]'"):
        prepared(pictures, tmp_path / "out", engine="ray")
    assert not (tmp_path / "out").exists()


def test_as_many_processes_as_are_worth_it(monkeypatch) -> None:
    """One process for few images, which then is this one and has every core."""
    asked: list[Any] = []
    monkeypatch.setattr(pool, "Builder", lambda settings, advance: asked.append(settings) or SimpleNamespace(build=str))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    tasks: Any = [SimpleNamespace(records=[None] * 1000)] * 2
    settings = Settings(Path(), Images(), TextEncoder(), 0, (), {})
    assert len(list(pool.engine(Workforce())(tasks, settings, lambda count: None))) == 2
    assert asked[0].threads == 8


# ---------------------------------------------------------------------------- Ray


def install_faults(folder: str) -> Callable[[], None]:
    """What every process of a test's Ray runs first: kills itself once in each of three places, or finds no disk."""

    def setup() -> None:
        import errno
        import os
        import signal
        from pathlib import Path

        from t2icli.data import build
        from t2icli.data.engines import ray as engine

        def die_once(place: str) -> None:
            try:
                os.close(os.open(Path(folder) / f"died-{place}", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)

        load, fsync, encode = build.load_picture, os.fsync, engine.EncoderActor.encode
        loaded = []

        def faulty_load(path: Path, *arguments: object) -> object:
            loaded.append(path)
            if (Path(folder) / "disk-is-full").exists():
                raise OSError(errno.ENOSPC, "No space left on device")
            if (Path(folder) / "armed").exists() and len(loaded) == 3:
                die_once("while-decoding")
            return load(path, *arguments)

        def faulty_fsync(descriptor: int) -> None:
            if (Path(folder) / "armed").exists() and loaded:
                die_once("while-writing")
            fsync(descriptor)

        def faulty_encode(self: object, captions: list[str], pad_sum: bool) -> object:
            if (Path(folder) / "armed").exists():
                die_once("while-encoding")
            (Path(folder) / "encoded-by-actor").touch()
            return encode(self, captions, pad_sum)

        build.load_picture, os.fsync, engine.EncoderActor.encode = faulty_load, faulty_fsync, faulty_encode

    return setup


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of switches, and a real Ray on this machine that looks at them; its one GPU exists in name only."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 't2icli[ray]'")
    folder = tmp_path_factory.mktemp("faults")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        "local",
        num_cpus=2,
        num_gpus=1,
        object_store_memory=100_000_000,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={
            "worker_process_setup_hook": install_faults(str(folder)),
            "env_vars": {"OMP_NUM_THREADS": "1"},
        },
    )
    yield folder
    ray.shutdown()


@pytest.mark.slow
def test_workers_that_are_killed_lose_and_repeat_nothing(prepared, faults: Path, tmp_path: Path) -> None:
    """One dies decoding, one between writing a shard and naming it, and on the GPU one that runs BERT."""
    import ray

    pictures = made_up_pictures(tmp_path / "pictures", 24)
    prepared(pictures, tmp_path / "pool", workers=1)
    (faults / "armed").touch()
    prepared(pictures, tmp_path / "with-gpu", workers=0, engine="ray", gpu_share=0.5)
    assert content(tmp_path / "with-gpu") == content(tmp_path / "pool")
    died = sorted(path.name for path in faults.glob("died-*"))
    assert died == ["died-while-decoding", "died-while-encoding", "died-while-writing"]
    assert (faults / "encoded-by-actor").exists()

    (faults / "encoded-by-actor").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
        prepared(pictures, tmp_path / "without-gpu", workers=2, engine="ray")
    assert content(tmp_path / "without-gpu") == content(tmp_path / "pool")
    assert not (faults / "encoded-by-actor").exists()


@pytest.mark.slow
def test_what_a_task_raises_is_raised_here(prepared, faults: Path, pictures: Path, tmp_path: Path) -> None:
    (faults / "disk-is-full").touch()
    with pytest.raises(DiskFull, match="no space left on the disk; finished shards are kept"):
        prepared(pictures, tmp_path / "out", "text.model=none", engine="ray")
    (faults / "disk-is-full").unlink()
    prepared(pictures, tmp_path / "out", "text.model=none", engine="ray")
    prepared(pictures, tmp_path / "pool", "text.model=none")
    assert content(tmp_path / "out") == content(tmp_path / "pool")


@pytest.mark.slow
def test_relative_paths_where_workers_are_elsewhere(
    prepared, faults: Path, pictures: Path, tiny_bert: Path, tmp_path: Path, monkeypatch
) -> None:
    """Ray's processes stay where Ray was started; the raw data, the shards and BERT are found all the same."""
    import ray

    shutil.copytree(tiny_bert, tmp_path / "my-bert")
    monkeypatch.chdir(tmp_path)
    elsewhere = ray.get(ray.remote(lambda: Path.cwd()).options(num_cpus=1).remote())
    assert elsewhere != tmp_path
    told = prepared(Path("pictures"), Path("pool"), "text.model=my-bert")
    with_gpu = prepared(Path("pictures"), Path("with-gpu"), "text.model=my-bert", engine="ray")
    assert {**with_gpu, "out": ""} == {**told, "out": ""}
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    prepared(Path("pictures"), Path("without-gpu"), "text.model=my-bert", engine="ray")
    assert content(tmp_path / "with-gpu") == content(tmp_path / "without-gpu") == content(tmp_path / "pool")


def test_workers_are_told_no_relative_path(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my-bert").mkdir()
    Path("none").mkdir()
    for model, told in (
        ("my-bert", str(tmp_path / "my-bert")),
        ("none", "none"),
        ("scenes-bert", "scenes-bert"),
        ("google-bert/bert-base-uncased", "google-bert/bert-base-uncased"),
    ):
        settings = Settings(Path("out"), Images(), TextEncoder(model=model), 12, (), {})
        anywhere = ray_engine.settings_anywhere(settings)
        assert (anywhere.out, anywhere.text.model) == (tmp_path / "out", told)
    task = Task("a.h5", "train", (Record(1, Path("raw/1.png"), ("a",)), Record(2, Path("/raw/2.png"), ("b",))))
    found = ray_engine.task_anywhere(task)
    assert [record.path for record in found.records] == [tmp_path / "raw" / "1.png", Path("/raw/2.png")]
    assert [record.name for record in found.records] == [record.name for record in task.records]


def test_a_task_that_kills_every_worker(monkeypatch) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 't2icli[ray]'")

    def died(reference: object) -> None:
        raise ray.exceptions.WorkerCrashedError

    monkeypatch.setattr(ray, "get", died)
    with pytest.raises(OutOfMemory, match=r"a.h5: its worker died 6 times \(WorkerCrashedError\), .*fewer --workers"):
        ray_engine.fetch(ray, None, "a.h5")


def test_a_cluster_that_cannot_be_reached(monkeypatch) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 't2icli[ray]'")
    given: list[Any] = []

    def refuse(address: str, **options: object) -> None:
        given.append((address, options))
        raise ConnectionError("nobody\nanswers")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with (
        pytest.raises(EnvironmentFault, match=r"RAY_ADDRESS=head:6379: cannot be used \(nobody answers\); should be"),
        ray_engine.cluster(ray, 3),
    ):
        pass
    assert "num_cpus" not in given[0][1]  # a running cluster has its own
    monkeypatch.delenv("RAY_ADDRESS")
    with pytest.raises(EnvironmentFault, match="RAY_ADDRESS=local"), ray_engine.cluster(ray, 3):
        pass
    assert given[1][0] == "local" and given[1][1]["num_cpus"] == 3


def test_encoders_share_a_gpu() -> None:
    """Two fit where each takes 0.4 of a GPU; a fifth on two GPUs would never be given its place."""
    made: list[dict[str, float]] = []

    class Actor:
        def options(self, **options: float) -> "Actor":
            made.append(options)
            return self

        def remote(self, settings: object) -> object:
            return settings

    ray = SimpleNamespace(remote=lambda kind: Actor())
    assert len(ray_engine.start_encoders(ray, None, gpus=2, share=0.4)) == 4
    assert made[0]["num_gpus"] == 0.4
    assert len(ray_engine.start_encoders(ray, None, gpus=0, share=1.0)) == 0


@pytest.mark.parametrize(("dim", "count"), [(12, 2), (0, 0)])
def test_gpus_are_taken_only_where_vectors_are_stored(monkeypatch, dim: int, count: int) -> None:
    """With text.embeddings = "online" only a tokeniser runs, and another's work may have the GPUs."""
    started: list[object] = []
    monkeypatch.setattr(ray_engine, "start_encoders", lambda ray, settings, gpus, share: started.extend([share] * gpus))
    build = SimpleNamespace(options=lambda **options: None)
    ray = SimpleNamespace(
        is_initialized=lambda: True,
        cluster_resources=lambda: {"CPU": 1.0, "GPU": 2.0},
        put=lambda settings: settings,
        remote=lambda function: build,
    )
    settings = Settings(Path(), Images(), TextEncoder(embeddings="stored" if dim else "online"), dim, (), {})
    assert list(ray_engine.build_all(ray, Workforce(), [], settings, lambda images: None)) == []
    assert len(started) == count
