"""What is read from completions as models write them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from satisfice.core.answers import read, value_of
from satisfice.core.task import Contract

NUMBER = Contract("number")


def key(contract: Contract, text: str) -> str | None:
    reading = read(contract, text)
    return reading.key if reading else None


SEVENTEEN = [
    "17", "17.0", "+17", "seventeen", "Seventeen", "17 apples", "$17", "$17$", "\\$17", "017", "17.", "17!", "**17**",
    "Answer: 17", "**Answer:** 17", "**Answer**: **17**", "### Answer\n17", "**Final Answer**\n\n$$\n17\n$$",
    "Answer = 17", "The answer is 17.", "The final answer is $17$. I hope it is correct.", "<answer>17</answer>",
    "<ANSWER>\n 17 \n</ANSWER>", "so \\boxed{17}", "$\\boxed{17}$ and 3 more words", "\\boxed{ 17 \\text{ cm}^2 }",
    "\\boxed{\\text{seventeen}}", "3 + 14 = 17\n#### 17", "#### Step 4\nWe add 3.\nSo the answer is 17",
    "x = 17", "17 = x", "20 - 3", "20 - 3 = 17 apples", "2^4 + 1", "2**4+1", "34/2", "\\frac{34}{2}", "17m^2",
    "17 m\u00b2",
    "17 km/h", "\uff11\uff17", "17\u00b0", "17^\\circ", "Answer: 17 (out of 20)", "Answer: 17 because 20 - 3 is that",
    "Answer: 17. There were 3 more.", "The total is 17.\n\nHope this one helps!", "1. Add 3\n2. Get 17\n3. Done",
    "17. Hope this helps!", "Answer: let me see\nIt is 17", "Answer:\n\n17", "<think>maybe 5? Answer: 9</think>17",
    "The answer to 3+14 is 17", "\\(17\\)", "\\[ 17 \\]", "Answer: \\(x = 17\\)", "16-17", "16 or 17", "16\u201317",
    "1,700 %", "\\sqrt{289}", "first 3, then 17", "`17`", "Answer: x=17, since y=3", "Total - 17 apples",
    "- 3 pears\n- 17 apples", "\\boxed{9}... wait.\nFinal answer: 17", "Final Answer: \\boxed{17}", "(17)", "USD 17",
    "US$17",
]  # fmt: skip


@pytest.mark.parametrize("text", SEVENTEEN)
def test_all_ways_to_say_seventeen_agree(text: str) -> None:
    assert key(NUMBER, text) == "17"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", 18), ("Answer: 19", 19), ("-17", -17), ("\u221217", -17), ("minus seventeen", -17),
        ("negative 17", -17),
        ("-$5", -5), ("1,234", 1234), ("1 234", 1234), ("1\u00a0234", 1234), ("1\u202f234", 1234), ("1{,}234", 1234),
        ("1\\,234", 1234), ("$1,234,567.50", 1234567.5), ("1.234", 1.234), ("1.234.567", 1234567), ("1,5", 1.5),
        ("0,125", 0.125), ("1.234,56", 1234.56), ("1,2,3", 3), ("3/4", 0.75), ("1 3/4", 1.75), ("-1 3/4", -1.75),
        ("\\frac{3}{4}", 0.75), ("\\dfrac{3}{4}", 0.75), ("\\frac34", 0.75), ("-\\frac{3}{4}", -0.75),
        ("1\\frac{3}{4}", 1.75), ("2^{10}", 1024), ("2\u00b9\u2070", 1024), ("1.2e3", 1200),
        ("1.2 \\times 10^{3}", 1200),
        ("1.2 x 10^3", 1200), ("1.2\u00d710\u00b3", 1200), ("10^-2", 0.01), ("\u00bd", 0.5), ("3\u00bd", 3.5),
        ("50%", 0.5),
        ("50 percent", 0.5), ("50\\%", 0.5), ("one half", 0.5), ("half", 0.5), ("a half", 0.5),
        ("three quarters", 0.75),
        ("forty-two", 42), ("forty two", 42), ("one hundred and five", 105), ("two thousand and six", 2006),
        ("a dozen", 12), ("two dozen eggs", 24), ("minus three", -3), ("twelve hundred", 1200),
        ("two and a half", 2.5),
        ("three million, two hundred thousand and one", 3200001), ("three point one four", 3.14),
        ("$1.5 million", 1500000),
        ("3 + 4", 7), ("2*3^2", 18), ("-2^2", -4), ("(2+3)*4", 20), ("8/2/2", 2), ("2^3^2", 512), ("3(4)", 12),
        ("1e-3", 0.001),
        ("0.30000000000000004", 0.30000000000000004), ("COVID-19", 19), (".5", 0.5), ("0", 0), ("-0", 0), ("zero", 0),
        ("17/3 \\approx 5.67", 17 / 3), ("x \u2248 5.67", 5.67), ("\u22485.5", 5.5), ("two plus nothing", 2),
        ("\\sqrt[3]{27}", 3),
        ("100!", 100),
    ],
)  # fmt: skip
def test_numbers_have_values(text: str, value: float) -> None:
    reading = read(NUMBER, text)
    assert reading is not None
    assert reading.value == pytest.approx(value, rel=1e-12)
    assert type(reading.value) is (int if value == int(value) else float)
    assert value_of(NUMBER, reading.answer) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    "group",
    [
        ["50%", "0.5", "1/2", "\\frac12", "\u00bd", "half", ".50", "2/4", "5e-1", "0,5"],
        ["3\\sqrt{2}", "3 \\sqrt 2", "3*sqrt(2)", "3\u221a2", "\\sqrt{18}", "3\\cdot\\sqrt{2}", "3 * 2^{1/2}"],
        ["\\pi", "\u03c0", "pi", "1\\pi"],
        ["\\frac{\\pi}{2}", "\u03c0/2", "pi/2", "0.5\\pi"],
        ["17/3", "5.666666666666667", "5 2/3", "\\frac{17}{3}", "five and two thirds"],
        ["0.3", "0.30000000000000004", "3/10", "30%"],
    ],
)
def test_equal_numbers_share_a_key(group: list[str]) -> None:
    assert len({key(NUMBER, text) for text in group}) == 1
    assert key(NUMBER, group[0]) is not None


def test_near_numbers_stay_apart() -> None:
    texts = [
        "17",
        "18",
        "19",
        "-17",
        "17.5",
        "0.17",
        "170",
        "17/3",
        "17e-300",
        "0",
        "1234567890123.5",
        "1234567890124.5",
    ]
    assert len({key(NUMBER, text) for text in texts}) == len(texts)
    assert key(NUMBER, "seventeen") == key(NUMBER, "17")


@pytest.mark.parametrize(
    "text",
    ["", "   \n", "no idea", "Answer:", "???", "1e999999999", "9**9**9",
     "1e-999", "9^9^9^9", "Of 3: Answer: 1e999999999",
     "9" * 5000,
     "\\boxed{}", "1/0", "\\frac{1}{0}", "nan", "inf"],
)  # fmt: skip
def test_what_is_no_number(text: str) -> None:
    reading = read(NUMBER, text)
    # Where a division fails, its last number is what is left to read.
    assert reading is None or (text in ("1/0", "\\frac{1}{0}") and reading.value in (0, 1))


@pytest.mark.parametrize("text",
["B", "b", "(B)", "(b)", "B.", "b)", "option b", "Option B", "**B**", "B) Paris", "[B]",
    "The answer is B", "the answer is (B).", "Answer: B", "Answer: **B**", "Answer: B. Paris", "\\boxed{B}",
    "\\boxed{\\text{(B)}}", "I think A is wrong.\nSo the correct option is B.", "A cat is not it.\n\nB",
    "A is wrong, C too, so I choose B", "<answer>b</answer>", "Answer: B because A is wrong", "Answer: option (B)",
    "\"B\"", "`B`", "Therefore, the correct choice is **(B)**."])  # fmt: skip
def test_labels(text: str) -> None:
    for choices in ((), ("A", "B", "C", "D", "E"), ("a", "b", "c"), ("A) Rome", "B) Paris", "C) Oslo")):
        reading = read(Contract("choice", choices), text)
        assert reading is not None, choices
        assert (reading.key, reading.value, reading.answer) == ("B", "B", "B")


@pytest.mark.parametrize(
    "text", ["Paris", "paris", "**Paris**", "Paris.", "It must be Paris.", "B", "(B) Paris", "Answer: the Paris",
             "Rome is wrong; the answer is Paris", "No, it is Paris", "Rome\n\nAnswer: Paris, not Rome"],
)  # fmt: skip
def test_options_with_texts(text: str) -> None:
    plain = read(Contract("choice", ("Rome", "Paris", "Oslo")), text)
    assert plain is not None
    assert (plain.key, plain.value) == ("paris", "Paris")
    assert key(Contract("choice", ("A) Rome", "B) Paris", "C) Oslo")), text) == "B"


@pytest.mark.parametrize(
    ("choices", "text", "expected"),
    [
        (("yes", "no"), "Answer: No, it is not", "no"), (("yes", "no"), "Yes", "yes"),
        (("New York", "York"), "Answer: New York", "new york"), (("New York", "York"), "York it is", "york"),
        (("1", "2", "3"), "Answer: 2", "2"), (("A", "B"), "Z", None), (("A", "B"), "I think a lot", None),
        ((), "", None),
        (("C", "C++"), "C++", "c++"), (("A", "B"), "A dog and a cat", None), (("A", "B"), "I am sure it is A", "A"),
    ],
)  # fmt: skip
def test_other_choices(choices: tuple[str, ...], text: str, expected: str | None) -> None:
    assert key(Contract("choice", choices), text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Paris", "paris"), ("The Paris", "paris"), ("Answer: **Paris**.", "paris"), ("\u201cParis\u201d", "paris"),
        ("Some thought.\n\nAnswer: the  Eiffel   Tower!", "eiffel tower"), ("\uff30aris", "paris"),
        ("Stra\u00dfe", "strasse"),
        ("Thinking...\nIt is big.\nParis", "paris"), ("Final answer is: Paris\nHope it helps", "paris"), ("A", "a"),
        ("\\boxed{\\text{Paris}}", "paris"), ("Answer:\nParis", "paris"), ("Answer:", None), ("", None),
        (" \n ", None),
        ("Answer: C++", "c++"), ("Answer: -5", "-5"), ("Answer: Paris\nI hope the answer is helpful", "paris"),
    ],
)  # fmt: skip
def test_texts(text: str, expected: str | None) -> None:
    assert key(Contract("text"), text) == expected


OBJECT = {"type": "object", "required": ["a"]}


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ('{"a": 1}', None, {"a": 1}), ('Here:\n```json\n{"b": 2, "a": 1.0}\n```\nDone {x}.', None, {"a": 1, "b": 2}),
        ('First {"a": 1} then {"a": 2} and prose [1', None, {"a": 2}),
        ('{"a": {"b": [1, {"c": 2}]}}', None, {"a": {"b": [1, {"c": 2}]}}),
        ('{"a": 1} see [1]', OBJECT, {"a": 1}), ('{"a": 1} then {"b": 2}', OBJECT, {"a": 1}),
        ("Answer: 42", None, 42),
        ("Answer: [1, 2]", None, [1, 2]), ("Data [1]. Answer: true", None, True),
        ('{"a": "answer: {}"}', None, {"a": "answer: {}"}),
        ("<answer>{\"a\": 3}</answer>", None, {"a": 3}), ("true", {"type": "integer"}, None), ("NaN", None, None),
        ("[1e999]", None, None),
        ("{'a': 1}", None, None), ("[" * 5000, None, None), ("[" * 5000 + "]" * 5000, None, None),
        ("1" * 9000, None, None), ("prose", None, None),
    ],
)  # fmt: skip
def test_json(text: str, schema: dict[str, Any] | None, value: Any) -> None:
    reading = read(Contract("json", schema=schema), text)
    assert (reading.value if reading else None) == value


def test_json_keys_ignore_form() -> None:
    texts = [
        '{"a": 1.0, "b": [1e2, true]}',
        '{ "b":[100,true], "a":1 }',
        '```json\n{"b": [100.0, true],\n "a": 1}\n```',
    ]
    assert {key(Contract("json"), text) for text in texts} == {'{"a":1,"b":[100,true]}'}
    assert key(Contract("json"), "[1]") != key(Contract("json"), "[true]")


CODE = "def f(x):\n    return x + 1"


@pytest.mark.parametrize(
    "text",
    [
        CODE, f"```python\n{CODE}\n```", f"```\n{CODE}\n```",
        f"Sure!\n```py\n{CODE}\n```\nRun it:\n```bash\npython f.py\n```",
        f"```python\nold = 1\n```\nBetter:\n```python\n{CODE}\n```", f"```python\n{CODE}", f"Answer: {CODE}",
        '```python\ndef f( x ):\n    """Adds one."""\n    # why not\n    return (x+1)\n```',
        "   ```python\n   def f(x):\n       return x+1\n   ```",
        f"Answer: ```python\n{CODE}```", f"<answer>{CODE}</answer>", CODE.replace("\n", "\r\n"),
    ],
)  # fmt: skip
def test_code(text: str) -> None:
    assert key(Contract("code"), text) == CODE


def test_other_code() -> None:
    assert key(Contract("code"), "I do not know how to do that.") is None
    assert key(Contract("code"), "```python\ndef f(:\n   x\n```") == "def f(:\nx"
    assert key(Contract("code", language="javascript"), "```js\nlet  x = 1;\n```") == "let x = 1;"
    assert key(Contract("code"), '```python\n"""only a docstring"""\n```') == "pass"
    assert key(Contract("code"), "```python\n# only a comment\n```") == "# only a comment"


HOSTILE = [
    "[" * 99_999, "{" * 99_999, "(" * 99_999, "\\boxed{" * 15_000, "\\boxed{" * 9_000 + "}" * 9_000, "-" * 99_999,
    "1-" * 50_000,
    "1," * 50_000, "1 " * 50_000, "9" * 99_999, "answer:" * 15_000, "answer is " * 10_000, "<answer>" * 12_000,
    "```" * 30_000,
    "```\n" * 25_000, "\n" * 99_999, " " * 99_999, "*" * 99_999, "#" * 99_999, "a." * 50_000, "not " * 7_000 + "1",
    "-" * 29_000 + "1",
    "```python\n" + "-" * 29_000 + "1", "```python\n" + "x." * 14_000 + "x", "```python\n" + "lambda:" * 4_000 + "1",
    "```python\n\0",
    "```python\n" + "1+" * 14_000 + "1", "```python\n0x" + "f" * 20_000, "\ud800", "Answer: \ud800",
    '{"a": "\ud800"}', "\0",
    "```python\nx = '\ud800'\n```", "\\frac" * 20_000, "2^" * 40_000, "answer to " * 9_000, "one " * 25_000,
    "and " * 25_000, "\u00b2" * 9_000,
    "million " * 9_000, "answer" + " " * 90_000, "answer to " + "x " * 40_000, "1.000" * 20_000, '{"a":' * 19_000,
    '["' * 40_000,
    "answer: " + "1,000" * 19_000, "(1+" * 30_000, "\\sqrt" * 20_000, "\u0130" * 9_000, "\ufdfa" * 9_000,
    "\u2460\u3007\u4e8c\u0661\u0967",
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_texts_come_to_an_end(number: int) -> None:
    """A guard against hanging, not a measurement: each takes milliseconds."""
    for kind in ("number", "choice", "text", "json", "code"):
        start = time.process_time()
        read(Contract(kind), HOSTILE[number])  # type: ignore[arg-type]
        value_of(Contract(kind), HOSTILE[number])  # type: ignore[arg-type]
        assert time.process_time() - start < 60.0, kind
