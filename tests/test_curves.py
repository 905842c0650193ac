"""Curves and comparisons: series, frontier, labels, files, escaping, and the two commands."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from satisfice.cli.comparing import compare as compare_command
from satisfice.cli.curving import curve as curve_command
from satisfice.cli.curving import default_worths, spread, worths_of
from satisfice.core.errors import CallerError, StoreError, UnknownName
from satisfice.experiments.curves import compare, curves_of, frontier, save, save_comparison
from satisfice.experiments.curves.comparing import pick, sign_test
from satisfice.experiments.curves.labels import place, sampled
from satisfice.experiments.curves.page import blocks, data_of, embedded, hover
from satisfice.experiments.curves.picture import accuracy_spend
from satisfice.experiments.curves.style import dollars, figure, paper, worths
from satisfice.experiments.intervals import Interval
from satisfice.experiments.report import Report
from satisfice.testing.reports import HOSTILE, made_report


class _Text(HTMLParser):
    """What a reader sees outside of scripts, and the tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        if not self.tags or self.tags[-1] not in ("script", "style"):
            self.text.append(data)


# -- series -------------------------------------------------------------------------------------------------------


def test_a_policy_is_a_line_over_its_worths_and_fixed_votes_are_one_line():
    curves = curves_of(made_report())
    lines = {s.label: s for s in curves.series}
    assert set(lines) == {"declared", "fitted", "fixed votes", "oracle"}
    assert [p.worths for p in lines["fitted"].points] == [(0.01,), (0.1,), (1.0,)]
    assert [p.row.name for p in lines["fixed votes"].points] == ["single_shot", "majority of 3", "majority of all"]
    assert lines["oracle"].kind == "level"
    assert curves.axes == ("usd", "tokens", "seconds")


def test_labels_name_models_only_where_there_are_several():
    labels = [s.label for s in curves_of(made_report(("p",), models=("lab/small", "lab/large"))).series]
    assert labels == [
        "p (small)",
        "p (large)",
        "fixed votes (small)",
        "fixed votes (large)",
        "oracle",
    ]


def test_worths_that_lead_to_the_same_figures_are_one_point():
    report = made_report(("p",), worths=(0.01,))
    again = replace(report.rows[0], worth=5.0)
    (line, *_) = curves_of(replace(report, rows=(*report.rows, again))).series
    assert [p.worths for p in line.points] == [(0.01, 5.0)]
    assert worths((0.01, 5.0)) == "$0.01 to $5"


def test_an_unmeasured_row_is_named_and_not_drawn():
    report = made_report()
    nan = float("nan")
    empty = replace(report.rows[0], name="react", questions=0, accuracy=Interval(nan, nan, nan), each={})
    curves = curves_of(replace(report, rows=(*report.rows, empty)))
    assert curves.left_out == ("react on lab/small: nothing could be measured",)
    assert "react" not in {s.label for s in curves.series}


def test_an_axis_that_the_bank_does_not_know_is_not_offered():
    assert curves_of(made_report(seconds=False)).axes == ("usd", "tokens")


def test_no_point_beats_a_frontier_point_and_hindsight_is_not_on_it():
    report = made_report()
    best = replace(report.row("single_shot"), name="best single model", accuracy=Interval(0.99, 0.9, 1.0))
    curves = curves_of(replace(report, rows=(*report.rows, best)))
    on = frontier(curves, "usd")
    assert on
    assert all(p.row.name not in ("oracle", "best single model") for p in on)
    others = [p for s in curves.series for p in s.on("usd") if p.row.name != "best single model"]
    for point in on:
        assert not any(
            o.x["usd"].estimate <= point.x["usd"].estimate and o.accuracy.estimate > point.accuracy.estimate
            for o in others
        )


# -- labels -------------------------------------------------------------------------------------------------------

_pixel = st.floats(0, 400, allow_nan=False)


@given(st.lists(st.tuples(_pixel, _pixel), max_size=12), st.lists(st.tuples(_pixel, _pixel), max_size=30))
def test_labels_never_overlap_nor_leave_the_picture(anchors, covered):
    placed = place(anchors, [(60.0, 12.0)] * len(anchors), covered, (0, 0, 400, 400))
    found = [box for box in placed if box]
    assert all(box.within(0, 0, 400, 400) for box in found)
    assert not any(a.overlaps(b) for a, b in combinations(found, 2))


def test_a_lone_label_stands_right_of_its_line_end_and_off_the_line():
    line = [(0.0, 0.0), (100.0, 50.0)]
    (box,) = place([line[-1]], [(60.0, 12.0)], sampled(line), (0, -200, 400, 400))
    assert box is not None
    assert box.x - box.width / 2 > 100
    assert not any(map(box.holds, sampled(line)))


def test_a_label_without_room_is_left_out():
    assert place([(5.0, 5.0)], [(60.0, 12.0)], [], (0, 0, 50, 50)) == [None]


# -- words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"),
        (0.012345, "0.0123"),
        (1234567.0, "1,234,567"),
        (3.2e-9, "3.20e-09"),
        (None, "unknown"),
        (float("nan"), "unknown"),
    ],
)
def test_figures_have_as_many_digits_as_say_something(value, said):
    assert figure(value) == said


def test_dollars_know_signs_and_no_limit():
    assert dollars(-0.5) == "-$0.500"
    assert dollars(float("inf")) == "unlimited"


# -- files --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("curve")
    save(made_report(("declared", HOSTILE)), place, command="satisfice curve --bank made-up --policy '<b>'")
    return place


def test_every_file_is_written_whole(folder):
    pictures = {
        f"{name}.{kind}" for name in ("accuracy-spend", "topics", "reliability", "money") for kind in ("png", "svg")
    }
    assert {p.name for p in folder.iterdir()} == pictures | {"index.html", "points.csv", "curve.json"}
    for name in pictures:
        if name.endswith("svg"):
            assert "<text" in (folder / name).read_text()  # letters, not outlines
            ElementTree.parse(folder / name)
        else:
            assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_the_same_report_gives_the_same_files(folder, tmp_path):
    save(made_report(("declared", HOSTILE)), tmp_path, command="satisfice curve --bank made-up --policy '<b>'")
    for made in folder.iterdir():
        assert (tmp_path / made.name).read_bytes() == made.read_bytes(), made.name


def test_a_hostile_name_is_text_everywhere(folder):
    html = (folder / "index.html").read_text()
    assert "<script>alert(1)" not in html
    # The parser would see one more script if any name had opened one; the page has three of its own.
    parsed = _Text(html)
    assert parsed.tags.count("script") == 3
    assert any('<script>alert(1)</script> & "o\'clock"' in text for text in parsed.text)
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.S).group(1))
    hovers = [p["hover"] for s in data["series"] for p in s["points"]]
    assert any("&lt;script&gt;alert(1)" in text for text in hovers)
    assert not any("<script" in text for text in hovers)


def test_data_in_a_page_cannot_end_its_script():
    text = embedded({"a": "</script><!-- & \u2028"})
    assert not set(text) & set("<>&\u2028")
    assert json.loads(text) == {"a": "</script><!-- & \u2028"}


def test_the_page_names_no_address_to_load_from(folder):
    html = (folder / "index.html").read_text()
    html = html.replace((Path(save.__code__.co_filename).parent / "page.js").read_text(), "")
    own = re.sub(r"<script>.*?</script>", "", html, flags=re.S)  # plotly's script only knows addresses, it loads none
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", re.sub(r"<svg.*?</svg>", "", own, flags=re.S))


def test_csv_and_json_hold_the_reports_numbers(folder):
    report = made_report(("declared", HOSTILE))
    rows = list(csv.DictReader((folder / "points.csv").open()))
    mine = next(r for r in rows if r["policy"] == "declared" and float(r["worth"]) == 0.1)
    row = report.row("self_consistency", worth=0.1)
    assert float(mine["accuracy"]) == row.accuracy.estimate
    assert float(mine["usd_high"]) == row.usd.high
    data = json.loads((folder / "curve.json").read_text())
    assert sum(len(s["points"]) for s in data["series"]) == len(rows)
    assert {p["frontier"] for p in data["frontier"]["usd"]} >= {"usd tokens seconds"}


def test_hover_tells_policy_settings_and_all_figures():
    curves = curves_of(made_report())
    series = next(s for s in curves.series if s.label == "fitted")
    said = hover(curves, series, series.points[0])
    for part in (
        "policy: fitted",
        "worth: $0.01",
        "right: 0.5",
        "dollars per question",
        "questions: 60",
        "net utility",
    ):
        assert part in said


def test_tiny_spends_are_told_by_the_million():
    report = made_report(("p",))
    rows = [
        replace(r, usd=Interval(*(v / 1e6 for v in (r.usd.estimate, r.usd.low, r.usd.high))) if r.usd else None)
        for r in report.rows
    ]
    data = data_of(curves_of(replace(report, rows=tuple(rows))))
    assert data["titles"]["usd"] == "dollars per million questions"


def test_a_report_without_any_spend_is_refused_before_anything_is_written(tmp_path):
    report = made_report()
    rows = tuple(replace(r, usd=None, tokens=None, each={}, latency=None) for r in report.rows)
    with pytest.raises(CallerError, match="no curve to draw"):
        save(replace(report, rows=rows), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_axis_and_an_unwritable_folder_are_clear(tmp_path):
    with pytest.raises(CallerError, match="does not know seconds"):
        save(made_report(seconds=False), tmp_path, axis="seconds")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        save(made_report(), tmp_path / "file")


def test_a_report_of_one_point_one_topic_and_no_claims_is_drawn(tmp_path):
    report = made_report(("p",), worths=(0.1,))
    rows = tuple(replace(r, reliability=(), money={}) for r in report.rows if r.name == "self_consistency")
    made = save(replace(report, rows=rows, topics={}), tmp_path)
    assert set(made) == {"accuracy-spend.png", "accuracy-spend.svg", "index.html", "points.csv", "curve.json"}


def test_many_lines_are_drawn_and_the_lesser_are_grey():
    report = made_report(tuple(f"policy {i}" for i in range(10)), worths=(0.01, 0.1), questions=30)
    curves = curves_of(report)
    colours = [s.colour for s in curves.series if s.kind == "policy"]
    assert sorted(c for c in colours if c is not None) == list(range(7))
    assert colours.count(None) == 3
    with paper():
        drawn = accuracy_spend(curves, "usd")
    said = {text.get_text() for text in drawn.axes[0].texts}
    assert "frontier" in said
    grey = {s.label for s in curves.series if s.kind == "policy" and s.colour is None}
    assert not grey & said


# -- comparisons --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("won", "lost", "p"), [(0, 0, 1.0), (5, 5, 1.0), (6, 0, 2 / 64), (10, 2, 0.03857421875)])
def test_the_sign_test_is_exact(won, lost, p):
    assert sign_test(won, lost) == pytest.approx(p)
    assert sign_test(lost, won) == pytest.approx(p)


def test_a_comparison_counts_pairs_and_knows_what_it_can_show():
    report = made_report()
    a, b = pick(report, "fitted", 1.0), pick(report, "declared", 1.0)
    found = compare(a, b, report)
    gaps = [a.each[q].right - b.each[q].right for q in a.each]
    assert found.difference.accuracy.estimate == pytest.approx(sum(gaps) / 60)
    assert found.count("won") == sum(g > 0 for g in gaps)
    assert found.count("won") + found.count("lost") + found.count("both right") + found.count("both wrong") == 60
    assert sum(t.questions for t in found.topics) == 60
    mean, sd = sum(gaps) / 60, found.deviation
    # 80% power at the 5% level: 2.8 standard errors.
    assert found.detectable == pytest.approx(2.801585 * sd / 60**0.5, rel=1e-5)
    assert found.needed == pytest.approx((2.801585 * sd / mean) ** 2, abs=1)
    assert found.names == ("fitted", "declared")


def test_the_same_row_twice_is_no_difference():
    report = made_report()
    row = pick(report, "fitted", 1.0)
    found = compare(row, row, report)
    assert not found.significant
    assert found.needed is None
    assert "exactly the same" in found.says()


def test_a_report_without_questions_says_how_to_keep_them():
    report = made_report()
    row = replace(report.rows[0], each={})
    with pytest.raises(CallerError, match="satisfice evaluate --out"):
        compare(row, row, report)


def test_picking_is_clear_about_what_is_unknown_or_several():
    with pytest.raises(UnknownName):
        pick(made_report(), "nobody")
    with pytest.raises(CallerError, match="say which"):
        pick(made_report(), "self_consistency", 0.1)
    with pytest.raises(CallerError, match="--model"):
        pick(made_report(models=("a", "b")), "fitted", 0.1)
    with pytest.raises(CallerError, match="not measured at a worth"):
        pick(made_report(), "fitted", 7.0)


def test_a_comparison_page_escapes_names_and_texts(tmp_path):
    report = made_report(("declared", HOSTILE))
    found = compare(pick(report, HOSTILE, 1.0), pick(report, "declared", 1.0), report)
    save_comparison(found, tmp_path, texts=dict.fromkeys(report.topics, "<img src=x onerror=alert(1)>"))
    html = (tmp_path / "compare.html").read_text()
    parsed = _Text(html)
    assert "script" not in parsed.tags
    assert "img" not in parsed.tags
    assert any("<img src=x" in text for text in parsed.text)
    data = json.loads((tmp_path / "compare.json").read_text())
    assert data["counts"]["won"] == found.count("won")
    assert {p.name for p in tmp_path.iterdir()} == {"compare.html", "compare.json", "compare.png", "compare.svg"}


# -- commands -----------------------------------------------------------------------------------------------------


def test_worths_are_numbers_and_ranges():
    assert worths_of(["0.01", "1:100/3"]) == [0.01, 1.0, 10.0, 100.0]
    assert len(worths_of(["0.001:1"])) == 8
    assert spread(1, 8, 4) == [1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "5:1", "1:2/1", "1:2/x", "1:", "nan", "inf", "3/4"])
def test_a_bad_worth_is_told(text):
    with pytest.raises(CallerError, match="--worth"):
        worths_of([text])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    place = tmp_path_factory.mktemp("report") / "report.json"
    made_report().save(place)
    return place


def _call(command, *args):
    return CliRunner().invoke(command, list(map(str, args)), catch_exceptions=False)


def test_curve_draws_a_saved_report(saved, tmp_path):
    result = _call(curve_command, "--report", saved, "--out", tmp_path / "c", "--axis", "tokens", "--json")
    assert result.exit_code == 0
    told = json.loads(result.output)
    assert told["questions"] == 60
    assert all(Path(place).is_file() for place in told["files"].values())


def test_compare_reads_a_saved_report(saved, tmp_path):
    result = _call(
        compare_command, "--report", saved, "--pair", "fitted,declared", "--worth", "1", "--out", tmp_path, "--json"
    )
    told = json.loads(result.output)
    assert (told["a"], told["b"]) == ("fitted", "declared")
    assert told["difference"]["questions"] == 60


@pytest.mark.parametrize(
    ("command", "args", "said"),
    [
        (curve_command, [], "one of --bank and --report"),
        (curve_command, ["--report", "r", "--worth", "1"], "measured already"),
        (compare_command, ["a", "--bank", "b"], "two things to compare"),
        (compare_command, ["a", "b"], "one of --bank and --report"),
    ],
)
def test_a_wrong_call_is_told(command, args, said, tmp_path):
    with pytest.raises(CallerError, match=said):
        _call(command, *args, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_curve_and_compare_replay_a_bank(tmp_path, small_bank):
    result = _call(
        curve_command, "--bank", small_bank, "--worth", "0.001:0.1/3", "--resamples", 2, "--out", tmp_path / "c"
    )
    assert result.exit_code == 0
    data = json.loads((tmp_path / "c" / "curve.json").read_text())
    assert {s["label"] for s in data["series"]} >= {"self_consistency", "fixed votes", "oracle"}
    result = _call(
        compare_command, "self_consistency", "single_shot", "--bank", small_bank, "--worth", "0.1", "--resamples", 2,
        "--out", tmp_path / "d", "--json",
    )  # fmt: skip
    assert json.loads(result.output)["a"] == "self_consistency"


def test_default_worths_span_the_cost_of_a_draw(small_bank):
    from satisfice.experiments import Bank

    found = default_worths(Bank.open(small_bank))
    assert len(found) == 8
    assert found[0] == pytest.approx(10 * 0.001)
    assert found[-1] == pytest.approx(3000 * 0.001)


@pytest.fixture(scope="module")
def small_bank(tmp_path_factory):
    """24 sums, 6 draws each, a tenth of a cent a draw."""
    from satisfice.experiments import import_file

    place = tmp_path_factory.mktemp("bank")
    rows = []
    for q in range(24):
        for k in range(6):
            right = (q * 7 + k * 5) % 10 < 3 + q % 6
            rows.append(
                {
                    "dataset": f"topic{q % 2}",
                    "question_id": f"q{q}",
                    "question": f"What is {q} + {q}? Variant {q}.",
                    "gold": str(2 * q),
                    "model": "lab/small",
                    "strategy": "direct",
                    "sample_index": k,
                    "answer": str(2 * q if right else 1000 + k % 3),
                    "correct": right,
                    "prompt_tokens": 20,
                    "completion_tokens": 10,
                    "tokens_source": "recorded",
                    "cost_usd": 0.001,
                    "cost_source": "recorded",
                }
            )
    file = place / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    import_file(file, place / "bank", licence="CC0-1.0")
    return place / "bank"


def test_a_saved_report_is_the_report():
    assert isinstance(Report.from_dict(made_report().to_dict(each=True)), Report)


# -- what names no model is asked of the other's; policies are told once; questions of a policy are left out ---------


@pytest.fixture(scope="module")
def two_models(small_bank):
    from satisfice.experiments import Bank

    first = Bank.open(small_bank)
    return Bank.merge(first, Bank.open(small_bank), rename={"lab/small": "lab/large"})


def test_a_side_without_a_model_is_measured_on_the_others(two_models):
    from satisfice.budgets.policy import Policy
    from satisfice.experiments.curves.sides import alike, side

    tuned = side("tuned", Policy(strategy="self_consistency:model=lab/large"), two_models)
    for other in (side("declared", None, two_models), side("single_shot", None, two_models, ("single_shot",))):
        a, b = alike(tuned, other)
        assert a.places == b.places == [("lab/large", "direct")]
    plain = side("single_shot", None, two_models, ("single_shot",))
    with pytest.raises(CallerError, match="choose one with --model"):
        alike(plain, plain)


def test_a_policy_is_told_once_and_its_name_comes_first():
    one = {f"tuned fold {i}": {"bank": "b", "questions_seen": "x"} for i in range(10)}
    assert blocks(one) == {"tuned": {"bank": "b"}}
    crossed = {f"fit fold {i}": {"bank": "b", "questions": i} for i in range(3)}
    assert blocks(crossed) == {"fit": {"bank": "b", "fitted": "3 times, each on the other folds"}}
    report = made_report(("tuned",))
    name = 'self_consistency:most=16,model=lab/small,params={"temperature":0.7}'
    rows = (*report.rows, replace(report.rows[0], name=name))
    assert "tuned, self_consistency most=16" in {s.label for s in curves_of(replace(report, rows=rows)).series}


def test_unseen_leaves_out_what_a_policy_was_fitted_on(small_bank):
    from satisfice.cli.measured import unseen_only
    from satisfice.experiments import Bank, fit

    bank = Bank.open(small_bank)
    policy = fit(bank, folds=bank.folds[:-1])
    assert unseen_only(bank, [policy]).folds == bank.folds[-1:]
    with pytest.raises(CallerError, match="every question"):
        unseen_only(bank, [fit(bank)])
