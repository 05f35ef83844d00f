"""`facetrove evaluate`, `calibrate` and `search --fpir`: their output and the report pages."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

from search.searcher import FaceSearcher
from tests.support.command import ONE_WORKER, require_message, run_facetrove
from tests.support.labelled_faces import labelled_index, people_around, write_labelled

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    vectors, people = people_around(250, 3, spread=0.6, dimension=64)
    cameras = ["phone" if n % 2 else "studio" for n in range(len(people))]
    return labelled_index(tmp_path_factory.mktemp("evaluate"), vectors, people, cameras=cameras)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a dataset, and a list of pairs of its photos."""
    folder = tmp_path_factory.mktemp("pairs")
    vectors, people = people_around(60, 2, spread=0.6)
    uris = [f"/p/{n:03d}.jpg" for n in range(120)]
    write_labelled(folder / "d.dataset", vectors, people, uris=uris)
    mated = [f"{uris[n]},{uris[n + 1]},1,day" for n in range(0, 120, 2)]
    others = [f"{uris[n]},{uris[(n + 2) % 120]},0,night" for n in range(0, 120, 2)]
    path = folder / "pairs.csv"
    path.write_text("\n".join(["photo1,photo2,same,light", *mated, *others]) + "\n")
    return folder / "d.dataset", path


def test_the_result_on_pairs_is_printed_as_tables_and_as_json(pairs: tuple[Path, Path]) -> None:
    finished = run_facetrove("evaluate", "pairs", *pairs, "--by", "light")
    assert finished.returncode == 0, finished.stderr
    first, second, *_ = finished.stdout.splitlines()
    assert (
        first == "60 pairs of one person and 60 of two; in 0 of them a photo has no detected face"
    )
    assert re.fullmatch(
        r"accuracy 0\.\d{4} \+- 0\.\d{4} \(standard error\) over 10 folds drawn at random", second
    )
    assert "too few trials" in finished.stdout  # FAR 0.001 of 60 pairs
    # 60 pairs are too few for a FAR of 0.01, so no table is printed at its threshold.
    assert "night" not in finished.stdout and "FRR" not in finished.stdout
    document = json.loads(run_facetrove("evaluate", "pairs", *pairs, "--json").stdout)
    assert document["accuracy"] == pytest.approx(float(second.split()[1]), abs=1e-4)
    assert sum(document["mated"]["counts"]) == 60
    assert document["true_accept_rates"]["0.001"] is None
    assert document["worst"] == [] and "/p/" not in json.dumps(document)
    thresholds = document["curve"]["thresholds"]
    assert thresholds[0] is None and thresholds[1] > thresholds[-1]


def test_identification_is_printed_as_tables_and_as_json(index: Path) -> None:
    finished = run_facetrove("evaluate", "identify", index, "--splits", "2", "--by", "camera")
    assert finished.returncode == 0, finished.stderr
    lines = finished.stdout.splitlines()
    assert lines[0] == (
        "750 labelled photos of 250 people; 0 other photos with faces left out (no label, or no "
        "face that it is for)"
    )
    assert lines[1] == (
        "closed set: 1,000 searches in 2 splits, in a gallery of 250 people with 250 photos"
    )
    (at,) = [line for line in lines if re.match(r"every face compared +0\.1 ", line)]
    rate = re.search(r"(0\.\d{4}) \((0\.\d{4}) to (0\.\d{4})\) +(0\.\d{3})$", at)
    assert rate is not None
    assert "studio" in finished.stdout
    document = json.loads(
        run_facetrove("evaluate", "identify", index, "--splits", "2", "--json").stdout
    )
    assert document["index"] is None
    fnir = document["model"]["false_negative"]["0.1"]
    told = [fnir["value"], fnir["low"], fnir["high"], document["model"]["thresholds"]["0.1"]]
    assert [float(text) for text in rate.groups()] == pytest.approx(told, abs=6e-4)
    assert 0 < document["model"]["rank_one"]["value"] <= 1
    assert len(document["model"]["match_rates"]) == 20
    assert document["options"]["face"] == "largest" and document["contract"]["dimension"] == 64
    assert document["protocol"] == {
        "num_enrolled": 1,
        "num_splits": 2,
        "stranger_share": 0.5,
        "seed": 0,
    }


@pytest.mark.slow
def test_wrong_arguments_of_an_evaluation_are_refused_in_one_line(
    index: Path, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    dataset, listed = pairs
    evaluate = ("evaluate", "identify", index)
    require_message(*evaluate, "--people", "who", exit_code=2, says=["'who'", "--people folder"])
    require_message(*evaluate, "--where", "x =", exit_code=2, says=["cannot be applied"])
    require_message(
        *evaluate, "--report", tmp_path / "r.pdf", exit_code=2, says=["end its name in .html"]
    )
    mine = tmp_path / "mine.html"
    mine.write_text("<html>my own page</html>")
    require_message(*evaluate, "--report", mine, exit_code=2, says=["is not a report of facetrove"])
    assert mine.read_text() == "<html>my own page</html>"
    require_message("evaluate", "pairs", dataset, tmp_path / "x.csv", exit_code=2, says=["x.csv"])
    require_message("evaluate", "pairs", index, listed, exit_code=2, says=["index"])
    require_message("evaluate", "identify", dataset, exit_code=2, says=["is a dataset"])
    require_message(
        *("evaluate", "robustness", index, "--corruption", "fire"),
        exit_code=2,
        says=["no corruption"],
    )
    require_message(
        "search", index, "--face", "x", "--fpir", "0.1", exit_code=2, says=["calibrate"]
    )


@pytest.mark.slow
def test_an_index_is_calibrated_and_searched_at_a_rate(index: Path, tmp_path: Path) -> None:
    copy = tmp_path / "faces.index"
    shutil.copytree(index, copy)
    finished = run_facetrove("calibrate", copy, "--fpir", "0.1")
    assert finished.returncode == 0, finished.stderr
    version, calibrated, line = finished.stdout.splitlines()
    assert version == f"{copy} (version 2)"
    assert "calibrated on 250 labelled people" in calibrated
    threshold = re.search(r"the threshold at FPIR 0.1 is similarity (\S+)", line)
    assert threshold
    assert calibrated in run_facetrove("info", copy).stdout
    face_id = json.loads(
        run_facetrove("evaluate", "identify", copy, "--splits", "1", "--json").stdout
    )["evaluated"]
    assert face_id == str(copy)
    searcher = FaceSearcher.open(copy)
    (nearest,) = searcher.search_embeddings(
        people_around(250, 3, spread=0.6, dimension=64)[0][:1], 1
    )
    answer = run_facetrove("search", copy, "--face", nearest[0].face_id, "--fpir", "0.1")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith(
        f"matches have similarity {float(threshold[1]):.3f} or more: 10% of searches for people "
        "who are not in the index return one\n"
    )
    assert "  measured on 250 people of this index" in answer.stdout.splitlines()
    document = json.loads(
        run_facetrove(
            "search", copy, "--face", nearest[0].face_id, "--fpir", "0.1", "--json"
        ).stdout
    )
    assert document["max_fpir"] == 0.1
    assert all(m["similarity"] >= document["threshold"] for m in document["matches"])
    assert all(0 < m["fpir"] <= 0.1 for m in document["matches"])
    require_message(
        "calibrate", copy, "--fpir", "0.001", exit_code=2, says=["cannot guarantee FPIR"]
    )


class _Page(HTMLParser):
    """The text, tags and linked sources of an HTML page."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page_of(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text())
    return page


def rendered(path: Path) -> str:
    """Return the text of a page as Chromium renders it."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt install chromium")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    shown = subprocess.run(
        [*command, path.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    page = _Page()
    page.feed(shown.stdout)
    return " ".join(" ".join(page.text).split())


def require_self_contained(page: _Page, num_plots: int) -> None:
    plots = [source for source in page.sources if source.startswith("data:image/svg+xml")]
    assert len(plots) == num_plots
    assert all(source.startswith("data:image/") for source in page.sources)
    assert not page.tags & {"script", "link", "iframe", "object"}


def require_phrases(text: str, phrases: Sequence[str]) -> None:
    assert [phrase for phrase in phrases if phrase not in text] == []


@pytest.mark.lasting
@pytest.mark.slow
def test_the_report_on_pairs_has_the_figures_of_the_terminal(
    pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    finished = run_facetrove("evaluate", "pairs", *pairs, "--report", report)
    assert finished.stdout.splitlines()[-1] == f"report: {report}"
    page = page_of(report)
    require_self_contained(page, 2)
    accuracy = finished.stdout.splitlines()[1].split()[1]
    text = rendered(report)
    require_phrases(
        text,
        [
            "Is it the same person?",
            f"{accuracy} ±",
            "60 mated pairs (two photos of one person) and 60 non-mated pairs",
            "True accept rate by false accept rate",
            "too few trials",
            "10 stratified folds were drawn at random",
            "Labeled Faces in the Wild, Technical Report 07-49",
            "ISO/IEC 19795-1:2021",
            "embedder namer (32 dimensions",
        ],
    )
    assert "/p/" not in text  # no photo is named without --examples
    again = run_facetrove("evaluate", "pairs", *pairs, "--report", report)
    assert again.returncode == 0  # an earlier report is replaced


@pytest.mark.lasting
@pytest.mark.slow
def test_the_report_on_identification_has_figures_definitions_and_sources(
    index: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    finished = run_facetrove(
        "evaluate", "identify", index, "--splits", "2", "--report", report, "--by", "camera"
    )
    assert finished.returncode == 0, finished.stderr
    require_self_contained(page_of(report), 4)
    text = rendered(report)
    row = next(line for line in finished.stdout.splitlines() if line.startswith("every face"))
    require_phrases(
        text,
        [
            "Who is it? Identification in a gallery",
            *re.findall(r"0\.\d{4} \(0\.\d{4} to [01]\.\d{4}\)", row),
            "2 random splits from seed 0",
            "FNIR at an FPIR of 0.01",
            "This index compares every face",
            "By camera",
            "DET curve, open set: FNIR (share of mated searches",
            "Options: face largest, enrol 1, splits 2, strangers 0.5, by camera, seed 0.",
            "CMC, closed set: the share of searches",
            "NISTIR 8271",
            "rule of three",
        ],
    )
    assert "/photos/" not in text and "p0001" not in text


@pytest.mark.lasting
@pytest.mark.slow
def test_examples_are_shown_when_asked_for(demo_photos: Path, tmp_path: Path) -> None:
    """A list of pairs with two wrong labels makes errors, whose faces the page shows."""
    dataset = tmp_path / "d.dataset"
    assert run_facetrove("embed", demo_photos, dataset, *ONE_WORKER).returncode == 0
    path = tmp_path / "pairs.csv"
    names = ["obama2.jpg", "obama3.jpg", "biden.jpg", "grace_hopper.jpg", "eileen_collins.png"]
    path.write_text(
        "photo1,photo2,same\n"
        f"{names[0]},obama_partial_face.jpg,1\n{names[1]},obama_partial_face2.jpg,1\n"
        f"{names[2]},{names[3]},1\n{names[0]},{names[1]},0\n{names[3]},{names[4]},0\n"
    )
    report = tmp_path / "report.html"
    finished = run_facetrove(
        *("evaluate", "pairs", dataset, path, "--face", "largest"),
        *("--examples", "2", "--report", report),
    )
    assert finished.returncode == 0, finished.stderr
    assert re.search(
        r"^-?0\.\d{3}  false reject: .*biden.jpg  .*grace_hopper.jpg$", finished.stdout, re.M
    )
    faces = [s for s in page_of(report).sources if s.startswith("data:image/jpeg")]
    assert len(faces) % 2 == 0 and len(faces) >= 2
    assert "biden.jpg" in report.read_text()
